"""Everything that leaves: hooks that decide, callbacks from the outbox, messages and calls through carriers."""
