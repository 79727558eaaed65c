"""One port of the server: its routes, keys, errors, answers and OpenAPI document."""
