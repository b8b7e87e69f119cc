"""The embedded engine: openvino-genai's continuous batching in a process of its own, and what makes models ready."""
