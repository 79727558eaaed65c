"""Measures which copies, threads and batch sizes run the graphs of a model fastest."""
