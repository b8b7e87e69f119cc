"""How much a caller, a tenant and an endpoint may have: rates, quotas and calls in flight, decided all at once."""
