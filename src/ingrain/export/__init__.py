"""Converts models to ONNX and proves that the numbers are the source library's."""
