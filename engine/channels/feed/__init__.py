"""The feed: frames of events in, frames of decisions out, over TCP or TLS."""
