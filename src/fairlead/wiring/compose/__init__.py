"""A spec as a file for Docker Compose."""
