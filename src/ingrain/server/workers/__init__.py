"""Several processes that serve the inference plane on one port, and the one that looks after them."""
