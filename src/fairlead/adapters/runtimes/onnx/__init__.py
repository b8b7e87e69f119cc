"""The ``onnx`` runtime: any ONNX graph through onnxruntime."""
