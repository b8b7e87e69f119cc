"""Models that run on other servers."""
