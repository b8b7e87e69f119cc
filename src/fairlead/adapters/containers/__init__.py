"""Tools that build images and run containers."""
