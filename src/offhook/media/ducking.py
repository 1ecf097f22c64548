"""How loud the agent is while nobody knows yet whether the caller interrupts.

A frame of G.711 is made softer by a table, one byte for one byte, so it costs next to nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.media.limits import FRAME_TICKS

DUCKED_DB: Final = 12
"""How much softer: the agent is understood still, and is no match for the caller."""

_STEP_DB: Final = 3  # Steps of 3 dB, 5 ms apart, are heard as a slope and not as clicks.
_STEP_TICKS: Final = FRAME_TICKS // 4
_LOWEST: Final = DUCKED_DB // _STEP_DB


def _softer(codec: Codec, decibels: int) -> bytes:
    samples = g711.decode(bytes(range(256)), codec) * 10 ** (-decibels / 20)
    return g711.encode(np.rint(samples).astype(np.int16), codec)


_TABLES: Final = {
    codec: [_softer(codec, step * _STEP_DB) for step in range(_LOWEST + 1)] for codec in (Codec.PCMU, Codec.PCMA)
}


class Ducking:
    """The volume of one leg's playout."""

    __slots__ = ("_step", "_target")

    def __init__(self) -> None:
        self._step = 0
        self._target = 0

    def duck(self, *, ducked: bool) -> None:
        """Become softer from the next frame on, or as loud as before."""
        self._target = _LOWEST if ducked else 0

    def apply(self, frame: bytes, codec: Codec) -> bytes:
        """Return a frame as loud as it is to be."""
        if self._step == self._target == 0:
            return frame
        tables = _TABLES[codec]
        if self._step == self._target:
            return frame.translate(tables[self._step])
        parts = []
        for start in range(0, len(frame), _STEP_TICKS):
            self._step += (self._target > self._step) - (self._target < self._step)
            parts.append(frame[start : start + _STEP_TICKS].translate(tables[self._step]))
        return b"".join(parts)
