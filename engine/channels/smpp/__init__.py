"""SMPP 3.4: messages in and out over carriers' own protocol."""
