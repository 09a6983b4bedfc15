"""The host's part of the data path: samples, their order, and how a file becomes pixels. Imports recipe and runtime."""
