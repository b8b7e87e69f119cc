"""From a question to an answer: what stands between an edge and an engine."""
