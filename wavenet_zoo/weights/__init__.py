"""Weights: their metadata, reading and writing files, and loading a model by name."""
