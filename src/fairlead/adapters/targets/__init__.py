"""Targets: what runs the objects of a deployment."""
