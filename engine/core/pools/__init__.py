"""The proxy numbers of a service: what is in its pool and which number a participant gets."""
