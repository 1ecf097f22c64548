"""Sockets: SIP over UDP and TCP, RTP port pairs, the HTTP server."""
