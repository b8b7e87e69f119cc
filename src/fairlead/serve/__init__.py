"""The request path: edges, the pipeline, the batcher and the executor."""
