"""The child process that converts a model, and the server's side of it."""
