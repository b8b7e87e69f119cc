"""What makes the next version: triggers, data tests, the pipeline, the gate."""
