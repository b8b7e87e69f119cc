"""Batches of requests for text: kept in files, worked off beside interactive callers."""
