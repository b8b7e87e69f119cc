"""Language models: from the spec to a line that answers."""
