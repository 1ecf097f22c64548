"""Audio on its way to an upstream and back, between the samples here and the format that is spoken with it."""

from __future__ import annotations

import binascii

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, from_bytes, to_bytes
from offhook.audio.resample import Resampler, is_convertible
from offhook.session.relay.dialect import Dialect, FormatName
from offhook.session.relay.event import UpstreamError

_CODECS = {"audio/pcmu": Codec.PCMU, "audio/pcma": Codec.PCMA}


class SpeechOut:
    """Encodes one turn of 16-bit mono samples at ``rate_hz``; any cut of it gives the same bytes."""

    __slots__ = ("_codec", "_resampler", "rate_hz")

    def __init__(self, rate_hz: int, wanted: FormatName, dialect: Dialect) -> None:
        self.rate_hz = rate_hz
        self._codec = _CODECS.get(wanted)
        wanted_hz = dialect.pcm_in_hz if self._codec is None else g711.RATE_HZ
        self._resampler = Resampler(rate_hz, wanted_hz) if rate_hz != wanted_hz else None

    def push(self, pcm: bytes) -> bytes:
        """Take the next samples and return what they complete."""
        samples = from_bytes(pcm)
        return self._encode(samples if self._resampler is None else self._resampler.push(samples))

    def finish(self) -> bytes:
        """Return what was still held back."""
        return b"" if self._resampler is None else self._encode(self._resampler.finish())

    def _encode(self, samples: Samples) -> bytes:
        return to_bytes(samples) if self._codec is None else g711.encode(samples, self._codec)


def linear(audio: bytes, spoken: FormatName, pcm_hz: int) -> tuple[bytes, int]:
    """Return the 16-bit mono samples of what is spoken with an upstream, and their rate in Hz."""
    codec = _CODECS.get(spoken)
    return (audio, pcm_hz) if codec is None else (to_bytes(g711.decode(audio, codec)), g711.RATE_HZ)


def heard_from(text: str, spoken: FormatName, rate_hz: int) -> tuple[bytes, int]:
    """Return the 16-bit mono samples of a base64 delta, and their rate in Hz. Raises UpstreamError for what is none."""
    try:
        audio = binascii.a2b_base64(text, strict_mode=True)
    except (ValueError, UnicodeError):
        raise UpstreamError("audio that is no base64") from None
    if spoken not in _CODECS and len(audio) % 2:
        raise UpstreamError("half a sample")
    if spoken not in _CODECS and not is_convertible(rate_hz):
        raise UpstreamError(f"samples at {rate_hz} Hz")
    return linear(audio, spoken, rate_hz)
