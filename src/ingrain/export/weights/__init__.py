"""Reads checkpoints, and checks that all weights of a loaded network come from files."""
