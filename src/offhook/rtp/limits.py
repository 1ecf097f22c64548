"""The limits of the RTP machines, each with its reason."""

from __future__ import annotations

from typing import Final

CLOCK_HZ: Final = 8000
"""The RTP clock of G.711 and of telephone events beside it (RFC 3551 section 6, RFC 4733 section 2.1)."""

PACKET_BYTES: Final = 2048
"""Longest datagram that is read: above any Ethernet frame, so only nonsense is cut."""

PAYLOAD_TICKS: Final = 1600
"""Longest payload that is played: 200 ms, the most RFC 3551 section 4.2 lets a receiver expect."""

RTCP_BLOCKS: Final = 31
"""Report blocks in one packet: all that five bits can count (RFC 3550 section 6.4.1)."""

RTCP_PACKETS: Final = 64
"""Packets in one compound: a datagram of `PACKET_BYTES` filled with four-byte packets would make 512 objects."""

BUFFERED_PACKETS: Final = 64
"""Packets that wait in a jitter buffer behind a hole: over a second of 20 ms frames; then the hole is given up."""

MAX_DROPOUT: Final = 3000
"""A jump in sequence numbers up to this is loss, beyond it a restart (RFC 3550 appendix A.1)."""

MAX_MISORDER: Final = 100
"""A step back up to this is a late packet, beyond it a restart (RFC 3550 appendix A.1)."""
