"""Sound that fills the time in which somebody waits: it belongs to no run, and every run comes before it."""

from __future__ import annotations

import numpy as np

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples
from offhook.media.limits import FRAME_TICKS, TICKS_PER_MS


class Filler:
    """Samples at 8 kHz, played once or over and over.

    ``whole``: a run that is there waits for its end, as words that are broken off are worse than a second of delay.
    """

    __slots__ = ("_loops", "_place", "_samples", "number", "sent", "whole")

    def __init__(self, number: int, samples: Samples, *, loops: bool, whole: bool) -> None:
        self.number = number
        self.whole = whole
        self.sent = 0
        """How many samples went out."""
        self._samples = samples
        self._loops = loops
        self._place = 0

    @property
    def sent_ms(self) -> int:
        """How much went out."""
        return self.sent // TICKS_PER_MS

    @property
    def over(self) -> bool:
        """Whether there is nothing left."""
        return self._place >= len(self._samples)

    def take(self, codec: Codec) -> bytes:
        """Return the next frame; the last one is filled up with silence."""
        part = self._samples[self._place : self._place + FRAME_TICKS]
        self._place += len(part)
        self.sent += len(part)
        if len(part) < FRAME_TICKS:
            part = np.concatenate([part, np.zeros(FRAME_TICKS - len(part), np.int16)])
        if self._loops and self.over:
            self._place = 0
        return g711.encode(part, codec)
