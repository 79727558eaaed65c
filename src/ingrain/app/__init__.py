"""Builds and runs the server from its settings; the only package that imports every part."""
