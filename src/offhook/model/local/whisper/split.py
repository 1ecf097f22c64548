"""Cuts speech that is longer than Whisper's context where the speaker pauses."""

from __future__ import annotations

from typing import Final

import numpy as np

from offhook.audio.pcm import Samples

LONGEST_S: Final = 29.5
"""The context is 30 s; a little of it stays silent, so that the end is seen as one."""

EARLIEST: Final = 0.6
"""A piece is at least this share of the longest: few pieces, and a long enough stretch to find a pause in."""

# The pause between words that is looked for, and how finely.
PAUSE_MS: Final = 200
STEP_MS: Final = 20


def split_speech(samples: Samples, rate_hz: int) -> list[Samples]:
    """Return the speech in pieces of at most `LONGEST_S`, cut in the middle of the quietest 200 ms."""
    longest = int(LONGEST_S * rate_hz)
    pieces = []
    while len(samples) > longest:
        cut = _quietest(samples, int(EARLIEST * longest), longest, rate_hz)
        pieces.append(samples[:cut])
        samples = samples[cut:]
    return [*pieces, samples]


def _quietest(samples: Samples, first: int, last: int, rate_hz: int) -> int:
    step = STEP_MS * rate_hz // 1000
    steps = (last - first) // step
    power = np.square(samples[first : first + steps * step].astype(np.float64)).reshape(steps, step).sum(axis=1)
    span = PAUSE_MS // STEP_MS
    quietest = int(np.argmin(np.convolve(power, np.ones(span), "valid")))
    return first + (quietest + span // 2) * step
