"""The model that Triton's Python backend runs for every graph; its source is copied into the model repository."""
