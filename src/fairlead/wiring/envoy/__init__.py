"""A spec as the configuration of Envoy."""
