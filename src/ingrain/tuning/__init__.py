"""Finds how an engine runs the graphs of a model fastest: copies, threads and sizes of batches."""
