"""The records of the engine: what is kept, what changes, what can go wrong."""
