"""Engines, which run ONNX graphs: the protocol, and one module or package for each engine."""
