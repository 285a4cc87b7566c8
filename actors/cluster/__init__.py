"""Hosts among one another: what they ask, tell and copy."""
