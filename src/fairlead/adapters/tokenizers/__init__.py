"""Texts to ids of tokens, and conversations to texts."""
