"""Ingrain: embeddings of any sentence-transformers, OpenCLIP or timm model, served through Triton."""

__version__ = "0.1.0"
