"""The HTTP client: connections, guarded addresses, how one try ended."""
