"""The contract: request and response types and the table of routes, shared by server and client."""
