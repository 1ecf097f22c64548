"""The last minutes of what a client appended, for whoever wants a turn of it."""

from __future__ import annotations

from collections import deque
from typing import Final

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import to_bytes
from offhook.audio.resample import resample
from offhook.session.listening import bytes_per_ms
from offhook.session.spoken import PCM_RATE_HZ
from offhook.wire import limits
from offhook.wire.session import AudioFormat, PcmFormat, PcmuFormat

KEPT_MS: Final = 330_000
"""What is not a turn yet: as long as the largest append of 24 kHz samples, 15 MiB."""

AFTER_MS: Final = 15_000
"""What was one, or the silence before one: long enough to be transcribed a second time, or retrieved."""


_SHORT_BYTES: Final = 1024
"""Shorter pieces are joined: each costs some 50 bytes, and there may be one for every sample."""

_LONG_BYTES: Final = 256 * 1024
"""Longer ones are cut, because a piece is given up as a whole."""


class _Stretch:
    """Audio of one format, from ``start_ms`` on. The pieces stay as they came: to put them together costs most."""

    __slots__ = ("_per_ms", "_pieces", "_size_bytes", "_spent_bytes", "audio_format", "start_ms")

    def __init__(self, start_ms: int, audio_format: AudioFormat) -> None:
        self.start_ms = start_ms
        self.audio_format = audio_format
        self._per_ms = bytes_per_ms(audio_format)
        self._pieces: deque[bytes | bytearray] = deque()
        self._spent_bytes = 0  # Of the first piece so much was given up.
        self._size_bytes = 0

    @property
    def end_ms(self) -> int:
        return self.start_ms + self._size_bytes // self._per_ms

    def append(self, audio: bytes) -> None:
        """Continue it."""
        self._size_bytes += len(audio)
        if len(audio) > _LONG_BYTES:
            self._pieces.extend(audio[start : start + _LONG_BYTES] for start in range(0, len(audio), _LONG_BYTES))
        elif len(audio) >= _SHORT_BYTES:
            self._pieces.append(audio)
        elif self._pieces and isinstance(last := self._pieces[-1], bytearray) and len(last) < _SHORT_BYTES:
            last += audio
        else:
            self._pieces.append(bytearray(audio))

    def cut(self, start_ms: int, end_ms: int) -> bytes:
        """Return what it has between two positions, in its own format."""
        start = max(start_ms - self.start_ms, 0) * self._per_ms + self._spent_bytes
        end = max(end_ms - self.start_ms, 0) * self._per_ms + self._spent_bytes
        wanted, place = [], 0
        for piece in self._pieces:
            if place + len(piece) > start and place < end:
                wanted.append(piece[max(start - place, 0) : end - place])
            place += len(piece)
        return b"".join(wanted)

    def release(self, before_ms: int) -> None:
        """Give up what lies before a position."""
        surplus_ms = min(before_ms, self.end_ms) - self.start_ms
        if surplus_ms <= 0:
            return
        self.start_ms += surplus_ms
        self._size_bytes -= surplus_ms * self._per_ms
        self._spent_bytes += surplus_ms * self._per_ms
        while self._pieces and self._spent_bytes >= len(self._pieces[0]):
            self._spent_bytes -= len(self._pieces.popleft())


class AppendedAudio:
    """One session's input on its time line, in the formats that it came in.

    Beyond ``KEPT_MS`` the oldest is dropped and counted; what became a turn goes ``AFTER_MS`` later.
    """

    def __init__(self) -> None:
        self._stretches: deque[_Stretch] = deque()
        self._end_ms = 0
        self.dropped_ms = 0

    def append(self, audio: bytes, audio_format: AudioFormat) -> None:
        """Continue the line."""
        if not self._stretches or self._stretches[-1].audio_format != audio_format:
            if len(self._stretches) == limits.MAX_FORMAT_CHANGES:
                self._stretches.popleft()
            self._stretches.append(_Stretch(self._end_ms, audio_format))
        last = self._stretches[-1]
        last.append(audio)
        self._end_ms = last.end_ms
        first_ms = self._stretches[0].start_ms
        if self._end_ms - first_ms > KEPT_MS + AFTER_MS:
            self._release(self._end_ms - KEPT_MS)
            self.dropped_ms += self._end_ms - KEPT_MS - first_ms

    @property
    def end_ms(self) -> int:
        """How far the line has come."""
        return self._end_ms

    @property
    def kept_ms(self) -> int:
        """How much is kept."""
        return self._end_ms - self._stretches[0].start_ms if self._stretches else 0

    def release(self, before_ms: int) -> None:
        """What lies before a position has been made use of, or never will be."""
        self._release(before_ms - AFTER_MS)

    def _release(self, before_ms: int) -> None:
        while self._stretches and self._stretches[0].end_ms <= before_ms and len(self._stretches) > 1:
            self._stretches.popleft()
        # Most of the time there is next to nothing to give up.
        if self._stretches and before_ms - self._stretches[0].start_ms >= 1000:
            self._stretches[0].release(before_ms)

    def samples(self, start_ms: int, end_ms: int) -> tuple[bytes, int]:
        """Return 16-bit mono samples between two positions, as far as they are there, and their rate in Hz."""
        found = [(each, piece) for each in self._stretches if (piece := each.cut(start_ms, end_ms))]
        rate_hz = max((_rate_hz(each.audio_format) for each, _ in found), default=PCM_RATE_HZ)
        return b"".join(_linear(piece, each.audio_format, rate_hz) for each, piece in found), rate_hz

    def as_sent(self, start_ms: int, end_ms: int, audio_format: AudioFormat) -> bytes:
        """Return the audio between two positions as far as it came in this format."""
        wanted = (each for each in self._stretches if each.audio_format == audio_format)
        return b"".join(each.cut(start_ms, end_ms) for each in wanted)


def linear(audio: bytes, audio_format: AudioFormat) -> tuple[bytes, int]:
    """Return audio as 16-bit mono samples, and their rate in Hz."""
    rate_hz = _rate_hz(audio_format)
    return _linear(audio, audio_format, rate_hz), rate_hz


def _rate_hz(audio_format: AudioFormat) -> int:
    return PCM_RATE_HZ if isinstance(audio_format, PcmFormat) else g711.RATE_HZ


def _linear(audio: bytes, audio_format: AudioFormat, rate_hz: int) -> bytes:
    if isinstance(audio_format, PcmFormat):
        return audio
    samples = g711.decode(audio, Codec.PCMU if isinstance(audio_format, PcmuFormat) else Codec.PCMA)
    if rate_hz != g711.RATE_HZ:
        samples = resample(samples, g711.RATE_HZ, rate_hz)
    return to_bytes(samples)
