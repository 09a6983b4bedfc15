"""Who is told the numbers of a run: the step file, TensorBoard, and services beside it. Imports what `engine` may."""
