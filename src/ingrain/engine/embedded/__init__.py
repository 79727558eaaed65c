"""The embedded Triton, which runs as a child process of the server."""
