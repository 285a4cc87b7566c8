"""Phone numbers: how they are written, where they are, which words stop a message."""
