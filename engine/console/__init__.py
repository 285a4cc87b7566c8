"""The operator's console: read-only pages for whoever is on call."""
