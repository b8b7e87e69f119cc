"""Faults on purpose: what is injected, for how long, and where."""
