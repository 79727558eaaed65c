"""Compares a graph's answers with the source library's."""
