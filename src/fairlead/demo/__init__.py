"""The story that `fairlead demo` tells."""
