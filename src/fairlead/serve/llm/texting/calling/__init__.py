"""How models write that they call a tool, and what is made of it."""
