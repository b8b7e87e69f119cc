"""gRPC on a port of its own: the Open Inference Protocol, health and reflection, over an HTTP/2 server made for it."""
