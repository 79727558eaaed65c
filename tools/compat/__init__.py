"""Exports every supported architecture and writes the compatibility tables of the documentation."""
