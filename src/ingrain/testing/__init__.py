"""Real parts for tests: a fake engine, tiny models, a small hub."""
