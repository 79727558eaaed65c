"""Which models should be loaded, which are, and what to do about the difference."""
