"""An HTTP/1.1 server on asyncio. Knows no route and no model."""
