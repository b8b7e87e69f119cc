"""Where traces of answers go."""
