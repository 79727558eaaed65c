"""API keys of a file: names, scopes, models, rate limits and expiry."""
