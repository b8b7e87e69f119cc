"""OpenAI's API: edges, which translate and nothing else."""
