"""A spec against this machine and what is around it, before it is served."""
