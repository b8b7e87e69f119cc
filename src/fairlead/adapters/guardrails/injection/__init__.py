"""Detector ``injection``: known phrasings, and a small linear classifier of our own."""
