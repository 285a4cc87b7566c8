"""Sessions: their life, their bindings, batches of changes, and how they are searched."""
