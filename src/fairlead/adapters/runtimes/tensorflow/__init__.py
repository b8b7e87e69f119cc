"""The ``tensorflow`` runtime: SavedModel folders."""
