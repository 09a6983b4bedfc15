"""Deployable files with their metadata. Imports data, recipe, models, weights, runtime."""
