"""The embedded Triton: a child process of the server."""
