"""HTTP/1.1 over sockets: bytes in, requests out; responses in, bytes out. Knows no route and no model."""
