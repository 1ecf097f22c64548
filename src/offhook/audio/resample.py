"""Streaming rate conversion between the telephone's 8 kHz and the rates of models and voices.

A polyphase FIR filter (Kaiser window, images and aliases at least 80 dB down) is laid out as a banded matrix, so that a
chunk of any size costs one matrix product. Taps are rounded to multiples of 2**-24 and the product is taken in double
precision: every partial sum is then exact, so the output does not depend on how the input was cut, nor on the BLAS.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from offhook.audio.pcm import Samples, saturate, silence
from offhook.errors import LocalError

RATES_HZ: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"""The usual rates: those of speech models, and those of the compact disc and its parts."""

_TELEPHONE_HZ: Final = 8000
_MOST_HZ: Final = 192_000
# 11,025 to 8,000 Hz is 441 to 320. The table of a filter grows with both of its sides.
_MOST_TERM: Final = 480

# Counted at the lower of the two rates: a transition band of 0.21 of its Nyquist, so flat to 3.5 kHz at 8 kHz.
_TAPS_PER_LOW_SAMPLE: Final = 48
# 82 dB of stop-band attenuation (Kaiser 1974: beta = 0.1102 (A - 8.7)).
_KAISER_BETA: Final = 8.0
# Outputs a row of the product: few enough to waste little of the band, many enough for the BLAS.
_BLOCK_SAMPLES: Final = 20
# Of a batch: the overlapping rows of more streams leave the cache before they are multiplied.
_STREAMS_AT_A_TIME: Final = 8


class _Filter(NamedTuple):
    """``matrix`` maps ``taken + history`` inputs to ``given`` outputs; ``taken`` inputs are consumed by each row."""

    matrix: npt.NDArray[np.float64]
    taken: int
    given: int
    history: int
    lead: int


def is_convertible(rate_hz: int) -> bool:
    """Whether sound of a rate can be converted: from 8 to 192 kHz, in a ratio to 8 kHz that small numbers make."""
    divisor = gcd(rate_hz, _TELEPHONE_HZ)
    return _TELEPHONE_HZ <= rate_hz <= _MOST_HZ and rate_hz // divisor <= _MOST_TERM


@lru_cache(maxsize=16)
def _filter(rate_in_hz: int, rate_out_hz: int) -> _Filter:
    divisor = gcd(rate_in_hz, rate_out_hz)
    up, down = rate_out_hz // divisor, rate_in_hz // divisor
    half = _TAPS_PER_LOW_SAMPLE // 2 * max(up, down)  # At the common rate; the impulse response is 2 * half + 1 long.
    offset = np.arange(-half, half + 1)
    response = np.sinc(offset / max(up, down)) * np.kaiser(2 * half + 1, _KAISER_BETA) * (up / max(up, down))
    response = np.rint(response * 2.0**24) / 2.0**24
    reach = half // up  # How many inputs before and after its own instant an output depends on.
    blocks = max(1, _BLOCK_SAMPLES // up)
    taken, given = down * blocks, up * blocks
    # In common-rate samples: outputs after the row's first own input, and inputs.
    instants, inputs = np.arange(given) * down, (np.arange(taken + 2 * reach) - reach) * up
    taps = instants[np.newaxis, :] - inputs[:, np.newaxis] + half
    matrix = np.where((taps >= 0) & (taps <= 2 * half), response[np.clip(taps, 0, 2 * half)], 0.0)
    return _Filter(np.ascontiguousarray(matrix), taken, given, 2 * reach, reach)


class Resampler:
    """Converts a stream from one rate to another; any cut of the input gives the same output.

    `push` returns what can be known so far, `finish` the rest: together ``ceil(n * rate_out / rate_in)`` samples for n
    given, in time with the input (the filter's delay is taken out). Raises `LocalError` for a rate that is not
    `is_convertible`.
    """

    __slots__ = ("_filter", "_given", "_rest", "_taken", "rate_in_hz", "rate_out_hz")

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        for rate_hz in (rate_in_hz, rate_out_hz):
            if not is_convertible(rate_hz):
                usual = ", ".join(map(str, RATES_HZ))
                raise LocalError(f"cannot convert audio of {rate_hz} Hz; the usual rates are {usual} Hz")
        self.rate_in_hz = rate_in_hz
        self.rate_out_hz = rate_out_hz
        self._filter = _filter(rate_in_hz, rate_out_hz) if rate_in_hz != rate_out_hz else None
        self._start()

    def _start(self) -> None:
        self._taken = 0
        self._given = 0
        self._rest = silence(self._filter.lead if self._filter else 0)

    @property
    def held_back_samples(self) -> int:
        """Inputs whose output is not all out yet, at most: what `push` lags behind."""
        return self._filter.history // 2 + self._filter.taken - 1 if self._filter else 0

    def push(self, samples: Samples) -> Samples:
        """Take the next samples and return all outputs that they complete."""
        if self._filter is None:
            return samples
        self._taken += len(samples)
        return self._convert(samples)

    def finish(self) -> Samples:
        """Return what is still due, as if silence followed, and make ready for another stream."""
        if self._filter is None:
            return silence(0)
        due = -(-self._taken * self.rate_out_hz // self.rate_in_hz) - self._given
        tail = self._convert(silence(self.held_back_samples + self._filter.taken))[:due]
        self._start()
        return tail

    def _convert(self, samples: Samples) -> Samples:
        assert self._filter is not None
        matrix, taken, given, history, _ = self._filter
        stream = np.concatenate([self._rest, samples])
        rows = (len(stream) - history) // taken
        if rows <= 0:
            self._rest = stream
            return silence(0)
        # Overlapping rows of one buffer: what as_strided does, at a tenth of its price.
        windows = np.ndarray((rows, taken + history), np.int16, stream, 0, (taken * 2, 2))
        self._rest = stream[rows * taken :].copy()
        self._given += rows * given
        return saturate(windows.astype(np.float64) @ matrix).reshape(-1)


class BatchResampler:
    """Converts many streams from one rate to another in one matrix product; the numbers are those of `Resampler`.

    Each stream is kept by its owner: it begins as ``lead_samples`` of silence, what comes is put behind, and of what
    `convert` was given the last ``history_samples`` are the beginning of what it is given next.
    """

    __slots__ = ("_filter", "history_samples", "lead_samples")

    def __init__(self, rate_in_hz: int, rate_out_hz: int) -> None:
        self._filter = _filter(rate_in_hz, rate_out_hz)
        self.history_samples = self._filter.history
        self.lead_samples = self._filter.lead

    def convert(self, streams: Sequence[Samples]) -> Samples:
        """Return what is new of all streams, one behind the other.

        Every stream is ``history_samples`` long and some blocks of 20 outputs more (60 inputs from 24 to 8 kHz).
        """
        matrix, taken, _, history, _ = self._filter
        # Overlapping rows of each buffer, as in `Resampler`.
        rows = [
            np.ndarray(((len(stream) - history) // taken, taken + history), np.int16, stream, 0, (taken * 2, 2))
            for stream in streams
        ]
        products = [
            np.concatenate(rows[start : start + _STREAMS_AT_A_TIME]).astype(np.float64) @ matrix
            for start in range(0, len(rows), _STREAMS_AT_A_TIME)
        ]
        return saturate(np.concatenate(products)).reshape(-1)


def resample(samples: Samples, rate_in_hz: int, rate_out_hz: int) -> Samples:
    """Convert a whole recording at once: ``ceil(n * rate_out / rate_in)`` samples for n given."""
    stream = Resampler(rate_in_hz, rate_out_hz)
    return np.concatenate([stream.push(samples), stream.finish()])


def resample_whole(samples: Samples, rate_in_hz: int, rate_out_hz: int) -> Samples:
    """Convert a whole recording between any two rates, by its spectrum; for files, not for streams."""
    count = len(samples) * rate_out_hz // rate_in_hz
    if rate_in_hz == rate_out_hz or not count:
        return samples[:count]
    spectrum = np.fft.rfft(samples.astype(np.float64))[: count // 2 + 1]
    return saturate(np.fft.irfft(spectrum, count) * (count / len(samples)))
