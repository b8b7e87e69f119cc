"""What we are measured beside: one small file a server."""
