"""The ``torch`` runtime: export archives, TorchScript programs, and classes with safetensors weights."""
