"""Tokenizers, by the form of their files."""
