"""Fetches URLs that callers choose, without reaching the server's own network (SSRF protection)."""
