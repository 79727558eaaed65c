"""Converts every supported architecture and writes the tables of differences in the documentation."""
