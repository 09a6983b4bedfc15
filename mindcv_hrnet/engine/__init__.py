"""What a job is made of: the training step and all around it, evaluation, run folder. Imports deploy and below."""
