"""What was done by whom: an append-only, hash-chained log of a home, and its proof."""
