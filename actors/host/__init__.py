"""Builds and runs one host."""
