"""The HTTP and WebSocket surface: thin handlers that decode, ask the call's owner, and encode."""
