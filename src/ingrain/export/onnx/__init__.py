"""Exports PyTorch modules to ONNX files, and edits and opens these files."""
