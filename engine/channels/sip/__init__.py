"""SIP: a carrier's switch asks whom a call reaches, and is redirected."""
