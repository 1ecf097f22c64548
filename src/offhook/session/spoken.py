"""An answer's audio in the format that a client asked for."""

from __future__ import annotations

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, from_bytes, to_bytes
from offhook.audio.resample import Resampler
from offhook.wire.session import AudioFormat, PcmFormat, PcmuFormat

PCM_RATE_HZ = 24_000


class SpokenAudio:
    """Converts one stream of 16-bit mono samples at ``rate_hz``; any cut of the input gives the same output."""

    __slots__ = ("_codec", "_resampler", "audio_format", "rate_hz")

    def __init__(self, rate_hz: int, audio_format: AudioFormat) -> None:
        self.rate_hz = rate_hz
        self.audio_format = audio_format
        self._codec: Codec | None = None
        if not isinstance(audio_format, PcmFormat):
            self._codec = Codec.PCMU if isinstance(audio_format, PcmuFormat) else Codec.PCMA
        wanted_hz = PCM_RATE_HZ if self._codec is None else g711.RATE_HZ
        self._resampler = Resampler(rate_hz, wanted_hz) if rate_hz != wanted_hz else None

    def push(self, pcm: bytes) -> bytes:
        """Take the next samples and return what they complete."""
        if self._resampler is None:
            return pcm if self._codec is None else g711.encode(from_bytes(pcm), self._codec)
        return self._encode(self._resampler.push(from_bytes(pcm)))

    def finish(self) -> bytes:
        """Return what was still held back."""
        return b"" if self._resampler is None else self._encode(self._resampler.finish())

    def _encode(self, samples: Samples) -> bytes:
        return to_bytes(samples) if self._codec is None else g711.encode(samples, self._codec)
