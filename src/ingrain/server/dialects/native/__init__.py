"""Ingrain's own API."""
