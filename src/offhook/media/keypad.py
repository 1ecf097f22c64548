"""Pressing keys for a caller: telephone events where the peer knows them (RFC 4733), their sound where it does not."""

from __future__ import annotations

from collections import deque
from typing import Final, TypeAlias

import msgspec

from offhook.audio import dtmf, g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples
from offhook.media import limits
from offhook.media.limits import FRAME_TICKS, TICKS_PER_MS
from offhook.rtp.telephone_event import EventSender

_PAUSE_FRAMES: Final = 5  # 100 ms between two keys, so that the other side can tell them apart.


class EventPacket(msgspec.Struct, frozen=True):
    """A telephone event to send instead of sound, ``copies`` times."""

    marker: bool
    timestamp: int
    payload: bytes
    copies: int


class Sound(msgspec.Struct, frozen=True):
    """A frame to send: the sound of a key, or the silence between two."""

    payload: bytes


class Done(msgspec.Struct, frozen=True):
    """The keys of one command have been pressed; this tick is free."""

    digits: str


class _Key(msgspec.Struct, frozen=True):
    digit: str
    duration_ms: int
    completes: str  # The whole command, on its last key.


class _Idle(msgspec.Struct, frozen=True):
    pass


class _Event(msgspec.Struct, frozen=True):
    sender: EventSender
    timestamp: int
    completes: str


class _Sounding(msgspec.Struct, frozen=True):
    sound: Samples
    completes: str


class _Pausing(msgspec.Struct, frozen=True):
    frames: int
    completes: str


_State: TypeAlias = _Idle | _Event | _Sounding | _Pausing


class Keypad:
    """The keys waiting to be pressed on one leg. While it is `busy`, `next` is asked once a frame."""

    __slots__ = ("_keys", "_state")

    def __init__(self) -> None:
        self._keys: deque[_Key] = deque()
        self._state: _State = _Idle()

    @property
    def busy(self) -> bool:
        """Whether there are keys to press."""
        return type(self._state) is not _Idle or bool(self._keys)

    def press(self, digits: str, duration_ms: int) -> None:
        """Queue keys, each one of `offhook.audio.dtmf.DIGITS`; what is beyond `limits.DIGITS` is dropped."""
        digits = digits[: limits.DIGITS - len(self._keys)]
        for index, digit in enumerate(digits):
            self._keys.append(_Key(digit, duration_ms, digits if index == len(digits) - 1 else ""))

    def next(self, timestamp: int, codec: Codec, *, events: bool) -> EventPacket | Sound | Done:
        """Return what this frame's time is used for. ``events`` tells whether the peer knows telephone events."""
        match self._state:
            case _Idle():
                key = self._keys.popleft()
                if events:
                    sender = EventSender(key.digit, key.duration_ms * TICKS_PER_MS, FRAME_TICKS)
                    self._state = _Event(sender, timestamp, key.completes)
                else:
                    sound = dtmf.dial(key.digit, tone_ms=key.duration_ms, pause_ms=0)
                    self._state = _Sounding(sound, key.completes)
                return self.next(timestamp, codec, events=events)
            case _Event(sender=sender, timestamp=began, completes=completes):
                packet = sender.next()
                if packet is not None:
                    stamp = began + packet.timestamp_offset & 0xFFFFFFFF
                    return EventPacket(packet.marker, stamp, packet.payload, packet.copies)
                self._state = _Pausing(_PAUSE_FRAMES, completes)
                return self.next(timestamp, codec, events=events)
            case _Sounding(sound=sound, completes=completes) if len(sound):
                self._state = _Sounding(sound[FRAME_TICKS:], completes)
                frame = g711.encode(sound[:FRAME_TICKS], codec)
                return Sound(frame + codec.silence * (FRAME_TICKS - len(frame)))
            case _Sounding(completes=completes):
                self._state = _Pausing(_PAUSE_FRAMES, completes)
                return self.next(timestamp, codec, events=events)
            case _Pausing(frames=frames, completes=completes) if frames:
                self._state = _Pausing(frames - 1, completes)
                return Sound(codec.silence * FRAME_TICKS)
            case _Pausing(completes=completes):
                self._state = _Idle()
                if completes or not self._keys:
                    return Done(completes)
                return self.next(timestamp, codec, events=events)
