"""RTCP packets (RFC 3550 section 6): reports, source descriptions and goodbyes, read and written."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from offhook.errors import RemoteError
from offhook.rtp import limits

_SR: Final = 200
_RR: Final = 201
_SDES: Final = 202
_BYE: Final = 203
_CNAME: Final = 1
_HEADER: Final = struct.Struct("!BBH")
_SENDER: Final = struct.Struct("!IQIII")
_BLOCK: Final = struct.Struct("!IIIIII")


class RtcpError(RemoteError):
    """A datagram that is not RTCP."""


class ReportBlock(NamedTuple):
    """What a receiver says about one source (section 6.4.1).

    ``fraction_lost`` is in 256ths, ``jitter`` in clock ticks, ``last_sr`` the middle 32 bits of the NTP time of the
    last sender report, ``delay_since_last_sr`` in 65,536ths of a second.
    """

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int
    delay_since_last_sr: int


class SenderReport(NamedTuple):
    """``ntp`` is a 64-bit fixed-point time on the sender's clock, and ``timestamp`` the same instant in RTP ticks."""

    ssrc: int
    ntp: int
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()


class ReceiverReport(NamedTuple):
    """The report of one who does not send."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()


class SourceDescription(NamedTuple):
    """The canonical names of sources; other items of SDES are skipped."""

    cnames: tuple[tuple[int, bytes], ...]


class Goodbye(NamedTuple):
    """Sources that leave, and why."""

    ssrcs: tuple[int, ...]
    reason: bytes = b""


class OtherControl(NamedTuple):
    """A packet type that is not read here (APP, feedback, extended reports)."""

    packet_type: int


ControlPacket: TypeAlias = SenderReport | ReceiverReport | SourceDescription | Goodbye | OtherControl


def parse_rtcp(data: bytes) -> list[ControlPacket]:
    """Read a compound packet; a broken frame of it is an `RtcpError`.

    The first packet need not be a report, since reduced-size RTCP is common (RFC 5506).
    """
    packets: list[ControlPacket] = []
    place = 0
    if not data:
        raise RtcpError("an empty datagram is no RTCP packet")
    while place < len(data):
        if len(data) - place < 4 or len(packets) == limits.RTCP_PACKETS:
            raise RtcpError("the compound RTCP packet has a broken end")
        first, packet_type, words = _HEADER.unpack_from(data, place)
        end = place + 4 + 4 * words
        if first >> 6 != 2 or not 192 <= packet_type <= 223 or end > len(data):
            raise RtcpError(f"no RTCP packet at byte {place}")
        body = data[place + 4 : end]
        if first & 0x20:
            if end != len(data) or not body or not 0 < body[-1] <= len(body):
                raise RtcpError("RTCP padding where there can be none")
            body = body[: -body[-1]]
        packets.append(_parse_one(packet_type, first & 31, body))
        place = end
    return packets


def _parse_one(packet_type: int, count: int, body: bytes) -> ControlPacket:
    try:
        if packet_type == _SR:
            ssrc, ntp, timestamp, packets, octets = _SENDER.unpack_from(body)
            return SenderReport(ssrc, ntp, timestamp, packets, octets, _blocks(body, _SENDER.size, count))
        if packet_type == _RR:
            return ReceiverReport(int.from_bytes(body[:4]), _blocks(body, 4, count))
        if packet_type == _SDES:
            return SourceDescription(_cnames(body, count))
        if packet_type == _BYE:
            ssrcs = struct.unpack_from(f"!{count}I", body)
            rest = body[4 * count :]
            return Goodbye(ssrcs, rest[1 : 1 + rest[0]] if rest else b"")
    except struct.error as error:
        raise RtcpError(f"the RTCP packet of type {packet_type} is cut short") from error
    return OtherControl(packet_type)


def _blocks(body: bytes, place: int, count: int) -> tuple[ReportBlock, ...]:
    if len(body) < place + count * _BLOCK.size:
        raise RtcpError(f"{count} report blocks do not fit into {len(body)} bytes")
    blocks = []
    for _ in range(count):
        ssrc, loss, *rest = _BLOCK.unpack_from(body, place)
        lost = (loss & 0xFFFFFF ^ 0x800000) - 0x800000  # 24 bits with a sign: duplicates make it negative.
        blocks.append(ReportBlock(ssrc, loss >> 24, lost, *rest))
        place += _BLOCK.size
    return tuple(blocks)


def _cnames(body: bytes, count: int) -> tuple[tuple[int, bytes], ...]:
    names = []
    place = 0
    for _ in range(count):
        (ssrc,) = struct.unpack_from("!I", body, place)
        place += 4
        while place < len(body) and body[place]:
            if place + 2 > len(body) or place + 2 + body[place + 1] > len(body):
                raise RtcpError("an item of the source description is cut short")
            if body[place] == _CNAME:
                names.append((ssrc, body[place + 2 : place + 2 + body[place + 1]]))
            place += 2 + body[place + 1]
        place = place // 4 * 4 + 4  # One to four zero bytes end a chunk.
    return tuple(names)


def build_rtcp(packets: Sequence[ControlPacket]) -> bytes:
    """Write a compound packet. The caller puts a report first and a description next (RFC 3550 section 6.1)."""
    return b"".join(_build_one(packet) for packet in packets)


def _build_one(packet: ControlPacket) -> bytes:
    match packet:
        case SenderReport(blocks=blocks):
            return _framed(_SR, len(blocks), _SENDER.pack(*packet[:5]) + _packed(blocks))
        case ReceiverReport(ssrc=ssrc, blocks=blocks):
            return _framed(_RR, len(blocks), ssrc.to_bytes(4) + _packed(blocks))
        case SourceDescription(cnames=cnames):
            chunks = [ssrc.to_bytes(4) + bytes([_CNAME, len(name)]) + name for ssrc, name in cnames]
            body = b"".join(chunk + bytes(4 - len(chunk) % 4) for chunk in chunks)
            return _framed(_SDES, len(cnames), body)
        case Goodbye(ssrcs=ssrcs, reason=reason):
            body = struct.pack(f"!{len(ssrcs)}I", *ssrcs) + (bytes([len(reason)]) + reason if reason else b"")
            return _framed(_BYE, len(ssrcs), body + bytes(-len(body) % 4))
        case OtherControl(packet_type=packet_type):
            return _framed(packet_type, 0, b"")


def _packed(blocks: Sequence[ReportBlock]) -> bytes:
    return b"".join(
        _BLOCK.pack(block.ssrc, block.fraction_lost << 24 | block.cumulative_lost & 0xFFFFFF, *block[3:])
        for block in blocks[: limits.RTCP_BLOCKS]
    )


def _framed(packet_type: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, packet_type, len(body) // 4) + body
