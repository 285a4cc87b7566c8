"""Bytes to domain and back, sans-IO: REST shapes, webhook forms and signatures, TwiML."""
