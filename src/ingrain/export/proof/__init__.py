"""Compares a graph's outputs with the source library's."""
