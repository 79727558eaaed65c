"""One port of the server: routes, API keys, error responses, metrics and the OpenAPI document."""
