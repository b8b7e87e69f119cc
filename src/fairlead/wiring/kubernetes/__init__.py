"""A spec as objects of Kubernetes."""
