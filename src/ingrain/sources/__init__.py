"""Where a model comes from: a local folder, or the hub."""
