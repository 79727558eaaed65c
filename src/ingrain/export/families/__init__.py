"""Model families: how each source library's models become ONNX graphs."""
