"""Batch jobs: tables through the pipeline without HTTP, in shards, each of which is there whole or not at all."""
