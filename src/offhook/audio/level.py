"""How loud: the level of every 10 ms, and the noise floor under a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import FULL_SCALE, Samples

STEP_MS: Final = 10
"""The step of all levels on a time line."""

SILENCE_DBFS: Final = -100.0
"""The level of digital silence; nothing is lower."""

_MARGIN_DB: Final = 8.0  # Above the background; 10 ms of steady noise vary by about 1 dB, so 8 is no accident.
_LEAST_DBFS: Final = -62.0  # On a silent line: under soft word endings, over the idle noise of G.711.
_LOWEST_DBFS: Final = -75.0  # Comfort noise and the idle noise of G.711 lie here; less is "no noise at all".
_START_DBFS: Final = -60.0


def levels_dbfs(samples: Samples, step_samples: int = 80) -> npt.NDArray[np.float64]:
    """Return the level of each whole step (10 ms at 8 kHz) in dB against a square wave of full scale.

    A constant offset (a DC bias of cheap converters) does not count as loudness: it is taken out of every step. What is
    left over after the last whole step is ignored.
    """
    steps = samples[: len(samples) // step_samples * step_samples].reshape(-1, step_samples).astype(np.float64)
    mean = steps.mean(axis=1)
    power = np.einsum("ij,ij->i", steps, steps) / step_samples - mean * mean
    levels: npt.NDArray[np.float64] = 10.0 * np.log10(np.maximum(power / FULL_SCALE**2, 1e-10))
    return levels


_VALUES: Final = {codec: g711.decode(bytes(range(256)), codec) / FULL_SCALE for codec in Codec}
# Values and squares side by side, as the two parts of complex numbers, are looked up and summed in one go.
_VALUES_AND_SQUARES: Final = {codec: values + 1j * values**2 for codec, values in _VALUES.items()}


def levels_of_g711(payload: bytes, codec: Codec, step_samples: int = 80) -> list[float]:
    """Return what `levels_dbfs` says of the decoded payload, without decoding it.

    There are only 256 sample values, so their squares come from a table; the payloads of many calls may be joined, each
    a whole number of steps.
    """
    codes = np.frombuffer(payload, np.uint8, len(payload) // step_samples * step_samples).astype(np.intp)
    means = _VALUES_AND_SQUARES[codec].take(codes.reshape(-1, step_samples), mode="clip") @ _equal_parts(step_samples)
    power = means.imag - means.real**2
    levels: list[float] = (10.0 * np.log10(np.maximum(power, 1e-10))).tolist()
    return levels


@lru_cache(maxsize=4)
def _equal_parts(count: int) -> npt.NDArray[np.complex128]:
    return np.full(count, 1 / count, np.complex128)


class EnergyGate:
    """Tells steps that carry energy from the background, whose level it follows: down at once, up slowly.

    Upward it moves faster while nobody is thought to speak, so that a fan that starts is learnt within a second or two,
    and slowly during speech, so that a long sentence is not taken for noise.
    """

    __slots__ = ("floor_dbfs",)

    def __init__(self) -> None:
        self.floor_dbfs = _START_DBFS
        """The level of the background."""

    def follow(self, levels_dbfs: Sequence[float], *, speech: bool) -> int:
        """Take the levels of the next steps and return one bit for each, the last one lowest: whether it is loud."""
        floor_dbfs = self.floor_dbfs
        bits = 0
        for level_dbfs in levels_dbfs:
            rise = level_dbfs - floor_dbfs
            if rise < 0:
                floor_dbfs += 0.2 * rise
                if floor_dbfs < _LOWEST_DBFS:
                    floor_dbfs = _LOWEST_DBFS
                bits <<= 1
            else:
                if speech:
                    floor_dbfs += 0.005 * rise if rise < 4 else 0.02
                else:
                    floor_dbfs += 0.04 * rise if rise < 10 else 0.4
                loud = level_dbfs > _LEAST_DBFS and level_dbfs > floor_dbfs + _MARGIN_DB
                bits = bits << 1 | loud
        self.floor_dbfs = floor_dbfs
        return bits
