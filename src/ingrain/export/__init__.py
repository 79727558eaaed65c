"""Converts models to ONNX and verifies that their outputs equal the source library's."""
