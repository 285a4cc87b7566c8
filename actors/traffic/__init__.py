"""The hot path: number actors, what they remember, and the hooks that hold an event."""
