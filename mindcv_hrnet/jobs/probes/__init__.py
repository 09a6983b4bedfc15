"""What the doctor asks a machine: each file a subject, each function a question that returns findings."""
