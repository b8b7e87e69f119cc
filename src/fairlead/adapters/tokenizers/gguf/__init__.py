"""Tokenizers in the metadata of a GGUF file."""
