"""The ledger of one machine: a file that all its processes map, and a log beside it."""
