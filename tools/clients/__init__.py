"""Runs unmodified clients of other APIs against a real server, and writes down what works."""
