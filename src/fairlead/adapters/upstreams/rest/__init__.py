"""The Open Inference Protocol over HTTP/1.1, as a client."""
