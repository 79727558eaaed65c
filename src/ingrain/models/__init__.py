"""Loaded models: their preprocessing, and a batch queue for each of their graphs."""
