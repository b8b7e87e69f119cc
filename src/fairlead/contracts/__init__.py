"""What everybody may know: records, errors and the plugin contracts. Standard library and numpy only."""
