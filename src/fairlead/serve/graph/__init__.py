"""Graphs: an endpoint that is made of other endpoints."""
