"""The child process that converts a model, and the server's code to run it."""
