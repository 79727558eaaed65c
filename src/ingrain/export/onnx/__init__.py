"""Writes ONNX files from PyTorch modules."""
