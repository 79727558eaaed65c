"""Models of a user's own: their files fetched from URLs, checked, and published as custom sources."""
