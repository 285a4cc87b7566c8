"""The HTTP port: its framing, its connections, and what the ASGI application gets of them."""
