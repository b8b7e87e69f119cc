"""A Kubernetes cluster, over its HTTP API."""
