"""Hugging Face safetensors to OpenVINO IR, with numpy and openvino only."""
