"""The Prometheus sink."""
