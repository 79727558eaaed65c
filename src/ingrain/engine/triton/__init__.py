"""The Triton engine, its gRPC client, and the address by which workers connect to Triton."""
