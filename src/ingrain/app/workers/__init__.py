"""Several processes that serve the inference plane on one port."""
