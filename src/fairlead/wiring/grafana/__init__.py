"""A spec as a dashboard of Grafana."""
