"""Numbered tones: sound whose meaning a test can check.

Tone *n* is a sine of ``500 + 100 n`` Hz. Every frequency is a whole number of periods in 10 ms, so each 10 ms of sound
is one bin of a short Fourier transform, and *n* survives G.711, resampling, loss and concealment.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from offhook.audio.pcm import Samples, saturate
from offhook.errors import LocalError

TONES: Final = 24
"""How many numbers there are: 0 (500 Hz) to 23 (2,800 Hz), all inside the telephone band."""

_LOWEST_HZ: Final = 500
_SPACING_HZ: Final = 100
_STEP_MS: Final = 10
_LEAST_PURITY: Final = 0.6  # Share of the energy in the bin; speech and noise stay under 0.5, concealment over 0.7.
_LEAST_DBFS: Final = -50.0


class HeardTone(NamedTuple):
    """One stretch of a tone: its number, when it began and ended, and the longest hole in it, to 10 ms."""

    number: int
    start_ms: int
    end_ms: int
    longest_gap_ms: int


def frequency_hz(number: int) -> int:
    """Return the frequency of a tone; `LocalError` for a number that is not one."""
    if not 0 <= number < TONES:
        raise LocalError(f"there is no tone {number}, only 0 to {TONES - 1}")
    return _LOWEST_HZ + _SPACING_HZ * number


def tone(number: int, duration_ms: int, rate_hz: int = 8000, level_dbfs: float = -12.0) -> Samples:
    """Generate a numbered tone with 5 ms ramps, which keep the clicks of its edges out of the other numbers."""
    count = duration_ms * rate_hz // 1000
    time = np.arange(count) / rate_hz
    amplitude = 32767 * 10 ** (level_dbfs / 20)
    ramp = np.minimum(np.minimum(time, time[::-1]) / 0.005, 1.0)
    return saturate(amplitude * ramp * np.sin(2 * np.pi * frequency_hz(number) * time))


def numbers_heard(samples: Samples, rate_hz: int = 8000) -> list[int | None]:
    """Return which tone each 10 ms holds, or None for silence and everything that is not a tone."""
    step = rate_hz * _STEP_MS // 1000
    steps = samples[: len(samples) // step * step].reshape(-1, step).astype(np.float64)
    if not len(steps):
        return []
    power = np.abs(np.fft.rfft(steps, axis=1)) ** 2
    power[:, 0] = 0.0
    bins = power[:, _LOWEST_HZ // _SPACING_HZ :][:, :TONES]
    best = bins.argmax(axis=1)
    strongest = bins[np.arange(len(bins)), best]
    total = power.sum(axis=1)
    least = (10 ** (_LEAST_DBFS / 20) * 32768 * step) ** 2 / 4
    sure = (strongest >= _LEAST_PURITY * total) & (strongest >= least)
    return [int(number) if good else None for number, good in zip(best, sure, strict=True)]


def find_tones(
    samples: Samples, rate_hz: int = 8000, *, bridge_ms: int = 100, shortest_ms: int = 30
) -> list[HeardTone]:
    """Find every tone in a recording, in order of time.

    Holes up to ``bridge_ms`` belong to the tone and are reported as its longest gap; stretches under ``shortest_ms``
    are taken for accidents of speech.
    """
    found: list[HeardTone] = []
    for index, number in enumerate(numbers_heard(samples, rate_hz)):
        if number is None:
            continue
        start_ms = index * _STEP_MS
        last = found[-1] if found else None
        if last is not None and last.number == number and start_ms - last.end_ms <= bridge_ms:
            gap_ms = max(last.longest_gap_ms, start_ms - last.end_ms)
            found[-1] = HeardTone(number, last.start_ms, start_ms + _STEP_MS, gap_ms)
        else:
            if last is not None and last.end_ms - last.start_ms < shortest_ms:
                found.pop()
            found.append(HeardTone(number, start_ms, start_ms + _STEP_MS, 0))
    return [tone for tone in found if tone.end_ms - tone.start_ms >= shortest_ms]
