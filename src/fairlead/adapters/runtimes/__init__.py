"""Runtimes: each runs one model format."""
