"""A client of the feed: batches, pipelines, finds the host that owns a number, sends again what is not ready."""
