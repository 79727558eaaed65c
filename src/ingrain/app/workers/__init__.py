"""Several processes that serve the inference plane side by side."""
