"""Tokenizers in the files of a Hugging Face folder."""
