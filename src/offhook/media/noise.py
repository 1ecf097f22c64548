"""Takes noise out of what comes in on a leg, before the voice detector and the recogniser hear it.

WebRTC's noise suppression works on 10 ms of 16 kHz; a telephone line has 8 kHz. Both changes of rate are half-band
filters without look-ahead, so that a packet leaves in the moment it comes. What is cleaned lies 8 ms later, and what
is cleaned of a line of 24 kHz, where nobody waits for a single packet, 21 ms later.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import from_bytes, saturate, to_bytes
from offhook.audio.resample import Resampler

INSTALL: Final = "pip install 'offhook[noise]'"
LEVELS: Final = 4
"""From 1, which nobody notices, to 4, which takes most noise and something of the voice."""

_PACKAGE: Final = "webrtc_noise_gain"
_STEP: Final = 80
"""Samples of 8 kHz that are cleaned at a time: 10 ms."""

_WIDE_HZ: Final = 16000
_WIDE_STEP: Final = _WIDE_HZ // 100

# A half-band filter: every other tap is zero but the middle one, so each phase is a delay or half as many products.
_TAPS: Final = 16
_IDEAL: Final = np.sinc(np.arange(_TAPS) - (_TAPS - 1) / 2) * np.kaiser(_TAPS, 6.0)
_HALF_BAND: Final = _IDEAL / _IDEAL.sum()

_Floats: TypeAlias = npt.NDArray[np.float64]


class Processor(Protocol):
    """What cleans; it remembers the noise that it has heard."""

    def Process10ms(self, samples: bytes) -> Any:  # noqa: N802 - so it is called
        """Return something whose ``audio`` is the cleaned 10 ms of 16 kHz."""


class NoiseReducer:
    """Cleans one leg's line; as many bytes of G.711 come out as go in."""

    __slots__ = ("_codec", "_down_even", "_down_odd", "_held", "_processor", "_ready", "_up")

    def __init__(self, processor: Processor, codec: Codec) -> None:
        self._processor = processor
        self._codec = codec
        self._up = np.zeros(_TAPS - 1)
        self._down_odd = np.zeros(_TAPS - 1)
        self._down_even = np.zeros(_TAPS // 2)
        self._held = b""
        self._ready: bytes | None = None  # What is still to be given back, once packets have not held whole steps.

    def clean(self, payload: bytes) -> bytes:
        """Take the next piece of the line, and return as much of the cleaned one."""
        if self._ready is None:
            if not len(payload) % _STEP:
                return self._cleaned(payload)
            self._ready = self._codec.silence * (_STEP - 1)  # From here on there is always enough.
        self._held += payload
        whole = len(self._held) // _STEP * _STEP
        if whole:
            self._ready += self._cleaned(self._held[:whole])
            self._held = self._held[whole:]
        cleaned, self._ready = self._ready[: len(payload)], self._ready[len(payload) :]
        return cleaned

    def _cleaned(self, payload: bytes) -> bytes:
        wide = saturate(self._doubled(g711.decode(payload, self._codec).astype(np.float64))).tobytes()
        size = 4 * _STEP
        pieces = [self._processor.Process10ms(wide[at : at + size]).audio for at in range(0, len(wide), size)]
        halved = self._halved(np.frombuffer(b"".join(pieces), np.int16).astype(np.float64))
        return g711.encode(saturate(halved), self._codec)

    def _doubled(self, samples: _Floats) -> _Floats:
        stream = np.concatenate([self._up, samples])
        self._up = stream[1 - _TAPS :]
        wide = np.empty(2 * len(samples))
        wide[::2] = np.convolve(stream, _HALF_BAND, "valid")
        wide[1::2] = stream[_TAPS // 2 : _TAPS // 2 + len(samples)]
        return wide

    def _halved(self, samples: _Floats) -> _Floats:
        odd = np.concatenate([self._down_odd, samples[::2]])
        even = np.concatenate([self._down_even, samples[1::2]])
        self._down_odd = odd[1 - _TAPS :]
        self._down_even = even[-_TAPS // 2 :]
        halved: _Floats = (np.convolve(odd, _HALF_BAND, "valid") + even[: -_TAPS // 2]) / 2
        return halved


class PcmNoiseReducer:
    """Cleans one line of 16-bit samples; as many bytes come out as go in."""

    __slots__ = ("_down", "_held", "_processor", "_ready", "_up")

    def __init__(self, processor: Processor, rate_hz: int) -> None:
        self._processor = processor
        self._down = Resampler(rate_hz, _WIDE_HZ)
        self._up = Resampler(_WIDE_HZ, rate_hz)
        self._held = b""
        wide_late = _WIDE_STEP + self._up.held_back_samples
        late = self._down.held_back_samples + -(-wide_late * rate_hz // _WIDE_HZ)
        self._ready = bytes(2 * late)  # So that there is always enough.

    def clean(self, audio: bytes) -> bytes:
        """Take the next piece of the line, whole samples of it, and return as much of the cleaned one."""
        self._held += to_bytes(self._down.push(from_bytes(audio)))
        size = 2 * _WIDE_STEP
        whole = len(self._held) // size * size
        pieces = [self._processor.Process10ms(self._held[at : at + size]).audio for at in range(0, whole, size)]
        self._held = self._held[whole:]
        self._ready += to_bytes(self._up.push(from_bytes(b"".join(pieces))))
        cleaned, self._ready = self._ready[: len(audio)], self._ready[len(audio) :]
        return cleaned


Processors: TypeAlias = Callable[[int], Processor]
"""Makes a processor of a level from 1 to `LEVELS`; each serves one leg."""


def load_processors() -> Processors | None:
    """Return what makes processors; None when it is not installed."""
    if importlib.util.find_spec(_PACKAGE) is None:
        return None
    make = importlib.import_module(_PACKAGE).AudioProcessor
    return lambda level: make(0, level)  # and no automatic gain: the recogniser does not need it
