"""A model file behind HTTP: protocol, micro-batching, limits, workers. Imports deploy, data and runtime, not engine."""
