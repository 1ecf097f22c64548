"""Packets with all that RFC 3550 5.1 allows in a header; offhook itself sends plain ones only."""

from __future__ import annotations

import struct

from offhook.rtp.packet import RtpPacket


def build_rtp(packet: RtpPacket, *, padding_bytes: int = 0) -> bytes:
    """Write a packet, with any padding asked for (its last byte counts it, so 0 to 255)."""
    first = 2 << 6 | len(packet.csrcs)
    parts = [b"", struct.pack(f"!{len(packet.csrcs)}I", *packet.csrcs)]
    if packet.extension is not None:
        first |= 1 << 4
        profile, data = packet.extension
        parts += [struct.pack("!HH", profile, len(data) // 4), data]
    parts.append(packet.payload)
    if padding_bytes:
        first |= 1 << 5
        parts.append(bytes(padding_bytes - 1) + bytes([padding_bytes]))
    second = packet.marker << 7 | packet.payload_type
    parts[0] = struct.pack("!BBHII", first, second, packet.sequence, packet.timestamp, packet.ssrc)
    return b"".join(parts)
