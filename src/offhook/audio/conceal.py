"""Packet loss concealment: the last pitch period goes on for a while and fades away.

In the manner of ITU-T G.711 Appendix I, simplified: one period found by autocorrelation is repeated, full for the first
10 ms, then fading to silence; the first good samples afterwards are blended with what was invented.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from offhook.audio.pcm import Samples, saturate, silence

HISTORY_SAMPLES: Final = 320
"""How much of the sound before a loss is looked at: 40 ms, two periods of the lowest voice."""

FADE_SAMPLES: Final = 480
"""After this much loss (60 ms) there is silence: a longer invention is heard as a buzz."""

_FULL_SAMPLES: Final = 80
_SHORTEST_PERIOD: Final = 40  # 200 Hz; higher voices repeat two periods or more.
_LONGEST_PERIOD: Final = 120  # 66 Hz.
_COMPARED: Final = 160
_BLEND_SAMPLES: Final = 24  # 3 ms: kills the click where the real sound comes back.


class Concealer:
    """Invents what was lost from what was heard before it.

    Call `lost` for each hole in order, `found` with the first sound after it. There is one object for each stretch of
    loss; it is made with the last `HISTORY_SAMPLES` (or fewer) of good sound.
    """

    __slots__ = ("_period", "_place")

    def __init__(self, history: Samples) -> None:
        self._period = _last_period(history[-HISTORY_SAMPLES:].astype(np.float64))
        self._place = 0

    def lost(self, count: int) -> Samples:
        """Return ``count`` samples in place of lost ones."""
        if self._place >= FADE_SAMPLES or not len(self._period):
            self._place += count
            return silence(count)
        invented = self._invent(count)
        self._place += count
        return saturate(invented)

    def found(self, samples: Samples) -> Samples:
        """Return the first good samples after the loss, their beginning blended with the end of the invention."""
        count = min(_BLEND_SAMPLES, len(samples))
        if not count or not len(self._period):
            return samples
        share = np.arange(1, count + 1) / (count + 1)
        blended = samples.copy()
        blended[:count] = saturate(samples[:count] * share + self._invent(count) * (1 - share))
        return blended

    def _invent(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        place = np.arange(self._place, self._place + count)
        gain = np.clip((FADE_SAMPLES - place) / (FADE_SAMPLES - _FULL_SAMPLES), 0.0, 1.0)
        wave: np.ndarray[tuple[int], np.dtype[np.float64]] = self._period[place % len(self._period)] * gain
        return wave


def _last_period(
    history: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Cut the last pitch period out of the history, its seam smoothed; empty when there is too little history."""
    if len(history) < _COMPARED + _LONGEST_PERIOD:
        return history[:0]
    recent = history[-_COMPARED:]
    windows = np.lib.stride_tricks.sliding_window_view(history, _COMPARED)
    candidates = windows[len(windows) - 1 - _LONGEST_PERIOD : len(windows) - _SHORTEST_PERIOD]
    energy = np.einsum("ij,ij->i", candidates, candidates)
    likeness = candidates @ recent / np.sqrt(energy + 1.0)
    period = _LONGEST_PERIOD - int(likeness.argmax())
    last = history[-period:].copy()
    # The period's end runs into its beginning: blend it with what led up to that beginning.
    seam = period // 4
    before = history[-period - seam : -period]
    share = np.arange(1, seam + 1) / (seam + 1)
    last[-seam:] = last[-seam:] * (1 - share) + before * share
    return last
