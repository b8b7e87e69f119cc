"""OpenAI's Batch API: files of requests, and batches made of them."""
