"""Models in processes of their own: what crosses the socket, one process, and the executor over them."""
