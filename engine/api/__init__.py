"""The REST control plane: an ASGI application over the `ControlPlane` port."""
