"""WAV files as bytes: mono and stereo, 16-bit linear, and G.711 when reading.

Only bytes in and bytes out; opening files is the business of the caller. Format: Microsoft RIFF, "Multiple channel
audio data and WAVE files" (WAVE_FORMAT_EXTENSIBLE).
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import numpy as np

from offhook.audio import g711
from offhook.audio.pcm import Samples
from offhook.errors import LocalError

_LINEAR: Final = 1
_A_LAW: Final = 6
_MU_LAW: Final = 7
_EXTENSIBLE: Final = 0xFFFE
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF  # Written by programs that stream and could not come back to fill it in.


class WavError(LocalError):
    """A file that is no WAV file, or one of a kind that is not read here."""


class Wav(NamedTuple):
    """``samples`` is ``(n, channels)``."""

    samples: Samples
    rate_hz: int

    @property
    def mono(self) -> Samples:
        """All channels mixed into one."""
        if self.samples.shape[1] == 1:
            return np.ascontiguousarray(self.samples[:, 0])
        mixed: Samples = self.samples.astype(np.int32).mean(axis=1).astype(np.int16)
        return mixed


class _Format(NamedTuple):
    tag: int
    channels: int
    rate_hz: int
    bits: int


def read_wav(data: bytes) -> Wav:
    """Read a WAV file; `WavError` says what is wrong with it.

    A data chunk that was cut short is read as far as it goes.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("not a WAV file: no RIFF/WAVE header")
    form: _Format | None = None
    place = 12
    while place + 8 <= len(data):
        name = data[place : place + 4]
        size_bytes = int.from_bytes(data[place + 4 : place + 8], "little")
        body = data[place + 8 :] if size_bytes == _UNKNOWN_LENGTH else data[place + 8 : place + 8 + size_bytes]
        if name == b"fmt ":
            form = _format(body)
        elif name == b"data":
            if form is None:
                raise WavError("the data of the WAV file come before their format")
            return Wav(_samples(body, form), form.rate_hz)
        place += 8 + size_bytes + (size_bytes & 1)
    raise WavError("the WAV file holds no sound: there is no data chunk")


def _format(body: bytes) -> _Format:
    if len(body) < 16:
        raise WavError("the format chunk of the WAV file is cut short")
    tag, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    if (tag, bits) not in {(_LINEAR, 16), (_A_LAW, 8), (_MU_LAW, 8)}:
        raise WavError(f"WAV format {tag} with {bits} bits is not read: use 16-bit linear or G.711")
    if channels not in {1, 2} or not rate_hz:
        raise WavError(f"WAV files of {channels} channels at {rate_hz} Hz are not read: use mono or stereo")
    return _Format(tag, channels, rate_hz, bits)


def _samples(body: bytes, form: _Format) -> Samples:
    frame_bytes = form.channels * form.bits // 8
    body = body[: len(body) // frame_bytes * frame_bytes]
    if form.tag == _LINEAR:
        samples = np.frombuffer(body, dtype="<i2").astype(np.int16)
    else:
        samples = g711.decode(body, g711.Codec.PCMA if form.tag == _A_LAW else g711.Codec.PCMU)
    return samples.reshape(-1, form.channels)


def write_wav(samples: Samples, rate_hz: int) -> bytes:
    """Write ``(n,)`` or ``(n, channels)`` samples as a 16-bit WAV file."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    body = np.ascontiguousarray(samples, dtype="<i2").tobytes()
    frame_bytes = 2 * channels
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + len(body), b"WAVE",
        b"fmt ", 16, _LINEAR, channels, rate_hz, rate_hz * frame_bytes, frame_bytes, 16,
        b"data", len(body),
    )  # fmt: skip
    return header + body
