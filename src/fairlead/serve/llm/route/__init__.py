"""Routing: one endpoint over several language models, with failover."""
