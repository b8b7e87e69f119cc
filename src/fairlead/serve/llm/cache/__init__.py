"""Answers that were given before: to the same question, and to one that means the same."""
