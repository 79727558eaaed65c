"""Makes a proved float32 graph smaller or faster: int8, float16, fused operators."""
