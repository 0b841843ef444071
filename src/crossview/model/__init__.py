"""Models as files: an ONNX network and what travels beside it."""
