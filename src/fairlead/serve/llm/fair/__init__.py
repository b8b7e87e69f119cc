"""Fair share: a bounded queue in front of an engine, fair by tokens among tenants."""
