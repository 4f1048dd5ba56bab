"""The HTTP layer without a server: ASGI messages in, ASGI messages out."""
