"""Fills the facts of the console from the stores."""
