"""The whole path of a request: what it asks for, the checks, the stations."""
