"""How shared mechanics work: clock, ids, log, plugins, codec, settings. Knows no models."""
