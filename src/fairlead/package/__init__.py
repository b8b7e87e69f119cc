"""What a model is before it is served: source, format, signature, manifest, trust, parity, registry."""
