"""Detectors of what must not pass in a text."""
