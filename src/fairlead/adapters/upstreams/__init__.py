"""Transports to other servers."""
