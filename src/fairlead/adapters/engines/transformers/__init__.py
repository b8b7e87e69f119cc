"""Any architecture that transformers has, by plain `generate` in a process of its own, one answer at a time."""
