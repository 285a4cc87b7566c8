"""Durable records of many hosts in one PostgreSQL database."""
