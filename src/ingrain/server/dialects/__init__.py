"""The APIs that clients speak: one module or folder each, listed in ``table.py``."""
