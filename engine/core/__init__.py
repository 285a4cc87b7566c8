"""The rules of masking, pure: no I/O, clock, randomness or runtime; all of those arrive as arguments."""
