"""The operator's admin API: JSON over a Unix socket; operations and their shapes."""
