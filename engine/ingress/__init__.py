"""Listeners where traffic enters; each hands its events to the `DataPlane` port."""
