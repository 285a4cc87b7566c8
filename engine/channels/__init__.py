"""How traffic enters and leaves: one folder a protocol."""
