"""The web page over the stores: what serves, how well, what changed. It reads facts that the wiring fills."""
