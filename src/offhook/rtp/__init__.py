"""RTP as plain objects (RFC 3550, 3551, 4733): bytes and time go in; packets, events and statistics come out.

Times are seconds or ticks of the 8 kHz media clock, always given by the caller. Nothing here opens a socket.
"""
