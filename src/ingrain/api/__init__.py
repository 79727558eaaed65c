"""The contract of the HTTP API: the types of request and response bodies, shared by server and client."""
