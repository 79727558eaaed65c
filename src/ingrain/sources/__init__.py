"""Finds a model's files in a local folder, on the hub, or among custom sources."""
