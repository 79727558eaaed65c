"""Reads checkpoints, and checks that every number in a network came from one."""
