"""Where secrets come from: one file a scheme of the references to them."""
