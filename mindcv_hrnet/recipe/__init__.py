"""YAML and command line -> `Config`, typed and checked. Imports no MindSpore; below it are models, weights, runtime."""
