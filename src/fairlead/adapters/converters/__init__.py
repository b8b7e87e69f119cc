"""Converters: from one model format to another."""
