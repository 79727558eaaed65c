"""Converts a proved float32 graph to int8, float16 or fused operators."""
