"""A loaded model: its graphs, their queues, and what the server knows of each kind of graph."""
