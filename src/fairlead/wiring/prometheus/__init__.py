"""A spec as rules and scrape configuration of Prometheus."""
