"""The Triton engine: its gRPC client, and its addresses for workers."""
