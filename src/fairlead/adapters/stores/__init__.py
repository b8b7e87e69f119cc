"""Stores: the model registry and the alias history."""
