"""Builds the server from its settings: the only place that sees every part."""
