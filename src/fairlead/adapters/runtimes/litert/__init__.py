"""The ``litert`` runtime: ``.tflite`` graphs through LiteRT (TensorFlow Lite)."""
