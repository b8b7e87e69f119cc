"""Cascades: the cheap model first, the dear one where that is not sure enough."""
