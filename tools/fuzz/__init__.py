"""Sends a real server whatever its documents allow, and much that they do not."""
