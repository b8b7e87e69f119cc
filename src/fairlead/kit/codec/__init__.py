"""Bytes to arrays and back: JSON, binary tensors and the Open Inference Protocol messages."""
