"""Answers messages of a broker: reads, calls the one pipeline, publishes, acknowledges."""
