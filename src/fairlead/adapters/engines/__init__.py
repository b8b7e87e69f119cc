"""Engines: what writes the answers of language models."""
