"""The RTP packet (RFC 3550 section 5.1), read and written."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from offhook.errors import RemoteError

_FIXED: Final = struct.Struct("!BBHII")
_VERSION: Final = 0x80
PLAIN: Final = _VERSION
"""The first byte of a packet without padding, extension and contributing sources, as nearly all are."""
_PADDING: Final = 0x20
_EXTENSION: Final = 0x10
HEADER_BYTES: Final = _FIXED.size
read_header: Final = _FIXED.unpack_from
"""Read first byte, marker and payload type, sequence, timestamp and SSRC of at least `HEADER_BYTES` bytes."""
write_header: Final = _FIXED.pack
"""Write these five."""


class RtpError(RemoteError):
    """A datagram that is not RTP."""


class RtpPacket(NamedTuple):
    """One packet. ``extension`` is the profile's number and its data (RFC 3550 section 5.3.1)."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    csrcs: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None


def parse_rtp(data: bytes) -> RtpPacket:
    """Read a packet; everything that RFC 3550 appendix A.1 calls invalid is an `RtpError`."""
    if len(data) < HEADER_BYTES:
        raise RtpError(f"{len(data)} bytes are no RTP packet")
    first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
    if first == _VERSION:  # Nearly every packet: no padding, no extension, no contributing sources.
        return RtpPacket(second & 127, second > 127, sequence, timestamp, ssrc, data[HEADER_BYTES:])
    if first & 0xC0 != _VERSION:
        raise RtpError(f"RTP version {first >> 6}")
    start = HEADER_BYTES + 4 * (first & 15)
    end = len(data)
    csrcs = struct.unpack(f"!{first & 15}I", data[HEADER_BYTES:start]) if start <= end else ()
    extension = None
    if first & _EXTENSION:
        if end < start + 4:
            raise RtpError("the header extension is cut short")
        profile, words = struct.unpack_from("!HH", data, start)
        extension = (profile, data[start + 4 : start + 4 + 4 * words])
        start += 4 + 4 * words
    if first & _PADDING:
        padding = data[-1]
        if not padding:
            raise RtpError("padding of no bytes")
        end -= padding
    if start > end:
        raise RtpError("the header is longer than the packet")
    return RtpPacket(second & 127, second > 127, sequence, timestamp, ssrc, data[start:end], csrcs, extension)


def voice_packet(payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes) -> bytes:
    """Write a packet with a plain header: what is sent 50 times a second for each call."""
    return _FIXED.pack(_VERSION, marker << 7 | payload_type, sequence, timestamp, ssrc) + payload


def is_rtcp(data: bytes) -> bool:
    """Tell RTCP from RTP on a shared port (RFC 5761 section 4)."""
    return len(data) > 1 and 192 <= data[1] <= 223


def signed_16(difference: int) -> int:
    """Bring a difference of sequence numbers into -32768..32767, across the wrap."""
    return (difference + 0x8000 & 0xFFFF) - 0x8000


def signed_32(difference: int) -> int:
    """Bring a difference of timestamps into the signed 32 bits around zero, across the wrap."""
    return (difference + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
