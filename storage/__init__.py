"""Durable records of one host in one SQLite file."""
