"""The last minutes of what a caller said, for whoever wants a turn of it."""

from __future__ import annotations

import threading
from typing import Final

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples
from offhook.media import limits

_STRIDE: Final = limits.RATE_HZ  # Dropped at a time: moving what is kept costs more than a second of memory.


class InputAudio:
    """Keeps one leg's input on its time line, as G.711: one byte a sample, decoded when it is read.

    The media thread appends, any thread reads. ``keep_s`` seconds are kept, and up to one more.
    """

    __slots__ = ("_codec", "_first", "_keep", "_kept", "_lock")

    def __init__(self, codec: Codec, keep_s: int = limits.INPUT_S) -> None:
        self._codec = codec
        self._keep = max(keep_s, 1) * limits.RATE_HZ
        self._kept = bytearray()
        self._first = 0  # Where on the line the kept bytes begin.
        self._lock = threading.Lock()

    def append(self, payload: bytes) -> None:
        """Continue the line."""
        with self._lock:
            self._kept += payload
            surplus = len(self._kept) - self._keep
            if surplus > _STRIDE:
                del self._kept[:surplus]
                self._first += surplus

    @property
    def end_ms(self) -> int:
        """How far the line has come."""
        with self._lock:
            return (self._first + len(self._kept)) // limits.TICKS_PER_MS

    def tail(self, count: int) -> Samples:
        """Return the last samples of the line, as many as there are up to ``count``."""
        with self._lock:
            payload = bytes(self._kept[-count:])
        return g711.decode(payload, self._codec)

    def read(self, start_ms: int, end_ms: int) -> Samples:
        """Return the samples (8 kHz) between two places on the line, as far as they are there."""
        with self._lock:
            start = max(start_ms * limits.TICKS_PER_MS - self._first, 0)
            end = max(end_ms * limits.TICKS_PER_MS - self._first, 0)
            payload = bytes(self._kept[start:end])
        return g711.decode(payload, self._codec)

    def release(self, before_ms: int) -> None:
        """Give up what lies before a place on the line, but for a second at most."""
        with self._lock:
            surplus = min(before_ms * limits.TICKS_PER_MS - self._first, len(self._kept))
            if surplus > _STRIDE:
                del self._kept[:surplus]
                self._first += surplus
