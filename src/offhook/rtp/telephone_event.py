"""DTMF as telephone events (RFC 4733): digits out of packets of any quality, and packets out of digits."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from offhook.rtp.packet import signed_32

DIGITS: Final = "0123456789*#ABCD"
"""The digit of each event code (RFC 4733 section 3.2)."""

END_PACKETS: Final = 3
"""How often the end of an event is sent (section 2.5.1.4)."""

_EVENT: Final = struct.Struct("!BBH")
_LONGEST_SEGMENT: Final = 0xFFFF


class TelephoneEvent(NamedTuple):
    """One payload: the event's code, whether it has ended, its volume in -dBm0 and its duration so far in ticks."""

    code: int
    end: bool
    volume: int
    duration: int


def parse_event(payload: bytes) -> TelephoneEvent | None:
    """Read the first event of a payload, or None if there is none.

    Longer payloads carry redundant older events behind it (RFC 4733 section 2.5.1.5 leaves them optional to use).
    """
    if len(payload) < 4:
        return None
    code, flags, duration = _EVENT.unpack_from(payload)
    return TelephoneEvent(code, flags > 127, flags & 63, duration)


def build_event(event: TelephoneEvent) -> bytes:
    """Write the payload of one event."""
    return _EVENT.pack(event.code, event.end << 7 | event.volume & 63, event.duration)


class EventReceiver:
    """Finds each pressed key once.

    An event is known by its timestamp (section 2.2), so neither the marker bit nor any particular packet is needed: a
    key counts with the first packet of it that arrives, be it a repetition of the end. Repetitions, late packets and
    the further segments of a key that is held for more than 8 s (section 2.5.1.3) do not count again.
    """

    __slots__ = ("_code", "_ended", "_timestamp")

    def __init__(self) -> None:
        self._timestamp: int | None = None
        self._code = -1
        self._ended = True

    def receive(self, payload: bytes, timestamp: int) -> str | None:
        """Take the payload of a telephone-event packet and return the digit that it begins, if it begins one."""
        event = parse_event(payload)
        if event is None or event.code >= len(DIGITS):
            return None
        if self._timestamp is not None:
            step = signed_32(timestamp - self._timestamp)
            if step <= 0:
                self._ended |= step == 0 and event.end
                return None
            if step == _LONGEST_SEGMENT and event.code == self._code and not self._ended:
                self._timestamp = timestamp
                self._ended = event.end
                return None
        self._timestamp, self._code, self._ended = timestamp, event.code, event.end
        return DIGITS[event.code]

    def forget(self) -> None:
        """Start again: a new synchronisation source counts its timestamps anew."""
        self._timestamp = None
        self._ended = True


class OutgoingEvent(NamedTuple):
    """What to send in a packet's time: its marker bit, its payload, and how often."""

    marker: bool
    payload: bytes
    copies: int
    timestamp_offset: int


class EventSender:
    """Makes the packets of one key press.

    Call `next` once every packet time until it returns None. All packets bear the timestamp of the first plus
    ``timestamp_offset`` (which moves only when the key is held over 8 s); the end is sent three times, each copy with a
    sequence number of its own.
    """

    __slots__ = ("_code", "_left", "_offset", "_packet_ticks", "_sent", "_volume")

    def __init__(self, digit: str, duration_ticks: int, packet_ticks: int = 160, volume: int = 10) -> None:
        self._code = DIGITS.index(digit)
        self._left = max(duration_ticks, packet_ticks)
        self._packet_ticks = packet_ticks
        self._volume = volume
        self._sent = 0
        self._offset = 0

    def next(self) -> OutgoingEvent | None:
        """Return what the next packet time sends, or None when the event is over."""
        if not self._left:
            return None
        marker = not self._sent and not self._offset
        step = min(self._packet_ticks, self._left)
        if self._sent + step > _LONGEST_SEGMENT:
            # The segment is filled up, and the next one begins where it ends (section 2.5.1.3).
            step = _LONGEST_SEGMENT - self._sent
        self._left -= step
        self._sent += step
        end = not self._left
        payload = build_event(TelephoneEvent(self._code, end, self._volume, self._sent))
        outgoing = OutgoingEvent(marker, payload, END_PACKETS if end else 1, self._offset)
        if self._sent == _LONGEST_SEGMENT and not end:
            self._offset += _LONGEST_SEGMENT
            self._sent = 0
        return outgoing
