"""A source becomes proved ONNX graphs, in a process of its own; the only code that imports torch."""
