"""From a model that speaks in ids of tokens to an engine that speaks in text."""
