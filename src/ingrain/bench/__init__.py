"""A load generator for a running server: requests in, rates and latencies out. Speaks HTTP only."""
