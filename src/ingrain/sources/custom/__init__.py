"""Downloads models from URLs that a user gives, checks their files and publishes them as custom sources."""
