"""A conversation whose model is an upstream realtime socket: what is said to it, and what its answers mean here."""
