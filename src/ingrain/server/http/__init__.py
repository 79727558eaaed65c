"""An HTTP/1.1 server on asyncio, independent of routes and models."""
