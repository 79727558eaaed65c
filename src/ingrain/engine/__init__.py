"""Runs ONNX graphs: the protocol of an engine, and one module or folder an engine."""
