"""A load generator: sends requests to a running server over HTTP, and reports rates and latencies."""
