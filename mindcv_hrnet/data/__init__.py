"""The host's part of the data path: where samples come from, in which order, and how a file becomes pixels."""
