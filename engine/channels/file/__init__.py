"""The file carrier: what would be sent, a line each; for demos and tests."""
