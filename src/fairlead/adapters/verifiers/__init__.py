"""What makes callers of bearer tokens that others signed."""
