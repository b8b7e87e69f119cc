"""The pages: which path shows which facts, by which template."""
