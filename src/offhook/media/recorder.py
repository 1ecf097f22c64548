"""Both sides of a leg on one clock: left what was heard, right what was really sent."""

from __future__ import annotations

import threading

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, interleave
from offhook.media import limits


class Recorder:
    """Records a leg that was opened with it. Any thread may read, also after the leg was closed.

    Sample n of both channels is the instant n / 8000 s after the leg was opened. What is kept is G.711, 16 kB a second;
    after ``longest_s`` nothing more is taken and `truncated` tells so.
    """

    __slots__ = ("_codec", "_heard", "_limit", "_lock", "_sent", "truncated")

    def __init__(self, longest_s: int = limits.RECORDING_S) -> None:
        self._limit = longest_s * limits.RATE_HZ
        self._codec = Codec.PCMU
        self._heard = bytearray()
        self._sent = bytearray()
        self._lock = threading.Lock()
        self.truncated = False

    def begin(self, codec: Codec) -> None:
        """Take the law of the leg's line; the plane calls this when the leg is opened."""
        self._codec = codec

    def heard(self, payload: bytes) -> None:
        """Continue the caller's channel."""
        with self._lock:
            self._heard += self._fitting(len(self._heard), payload)

    def sent(self, place: int, payload: bytes, codec: Codec) -> None:
        """Put what is sent at ``place`` (in samples since the leg was opened) on our channel; holes are silence."""
        with self._lock:
            if place >= self._limit:
                self.truncated = True
                return
            if place > len(self._sent):
                self._sent += self._codec.silence * (place - len(self._sent))
            payload = g711.translate(payload, codec, self._codec)[len(self._sent) - place :]
            self._sent += self._fitting(len(self._sent), payload)

    @property
    def heard_samples(self) -> int:
        """How much of the caller's channel there is."""
        return len(self._heard)

    def heard_from(self, place: int) -> Samples:
        """Return the caller's channel from a place on, in samples."""
        with self._lock:
            payload = bytes(self._heard[max(place, 0) :])
        return g711.decode(payload, self._codec)

    def stereo(self) -> Samples:
        """Return ``(n, 2)`` samples: left the caller, right ourselves."""
        with self._lock:
            heard, sent = bytes(self._heard), bytes(self._sent)
        return interleave(g711.decode(heard, self._codec), g711.decode(sent, self._codec))

    def _fitting(self, length: int, payload: bytes) -> bytes:
        room = self._limit - length
        if len(payload) > room:
            self.truncated = True
            return payload[:room]
        return payload
