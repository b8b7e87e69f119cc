"""Detector ``pii``: patterns with checksums. The standard library only."""
