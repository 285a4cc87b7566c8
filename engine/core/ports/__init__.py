"""What the adapters ask of one another, and what may be observed."""
