"""Triton over gRPC."""
