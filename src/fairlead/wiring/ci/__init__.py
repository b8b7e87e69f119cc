"""A spec as a workflow of a build server."""
