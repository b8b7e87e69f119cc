"""Sinks: where measurements go."""
