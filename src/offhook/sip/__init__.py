"""The SIP user agent as machines without I/O: bytes and wishes in, bytes and events out (RFC 3261 and friends)."""
