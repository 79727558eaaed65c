"""A URL from outside in, its bytes out, and no way into the network that this server stands in."""
