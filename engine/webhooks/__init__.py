"""Webhooks to applications: hooks that decide, callbacks from the outbox."""
