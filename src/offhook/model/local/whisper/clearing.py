"""Takes noise out of a stretch of speech that is there from its beginning to its end.

What cleans a line while it is spoken knows no future. Here the noise is what is there where the whole stretch is
quietest, and what stands out of it is looked for on both sides of every moment.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from offhook.model.local.whisper.features import RATE_HZ, Floats

NOISY_DB: Final = 35.0
"""Speech is noisy when its loud parts stand out of its quiet ones by less. On a quiet line they do by 45 dB and more,
in noise 5 dB below the speech by 11 dB, and where a line was cleaned of that by 20 to 33 dB."""

LOUD_DB: Final = 30.0
"""What is softer than the loudest part by more than this is not spoken."""

_SHARE: Final = 0.2
_LEAST_FRAMES: Final = 8
_STEP: Final = RATE_HZ // 50

_HOP: Final = 256
_WINDOW: Final = 2 * _HOP
_SHAPE: Final = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW))
_LEAST_GAIN: Final = 0.2
"""What is left of the noise hides what cleaning does to the voice."""

_MEMORY: Final = 0.98
_LEAST_RATIO: Final = 10**-2.5
_MOST_RATIO: Final = 1e3
_NOTHING: Final = 1e-9

_Powers = npt.NDArray[np.float64]


def _levels(sound: Floats) -> _Powers:
    """Return the power of every 20 ms in dB, over no particular one."""
    steps = max(len(sound) // _STEP, 1)
    whole = np.pad(sound, (0, max(_STEP - len(sound), 0)))[: steps * _STEP]
    levels: _Powers = 10 * np.log10(np.square(whole.astype(np.float64)).reshape(steps, _STEP).mean(axis=1) + _NOTHING)
    return levels


def is_noisy(sound: Floats) -> bool:
    """Say whether speech at 16 kHz in -1 to 1 is in noise."""
    levels = np.sort(_levels(sound))
    fifth = max(int(len(levels) * _SHARE), 1)
    return float(levels[-fifth:].mean() - levels[:fifth].mean()) < NOISY_DB


def spoken_s(sound: Floats) -> float:
    """Return how long speech lasts, from its first loud moment to its last. In noise the whole sound is loud."""
    levels = _levels(sound)
    loud = np.flatnonzero(levels > levels.max() - LOUD_DB)
    return float(loud[-1] - loud[0] + 1) * _STEP / RATE_HZ


def cleared(sound: Floats) -> Floats:
    """Return as much sound with less of the noise in it: Wiener's filter, 32 ms at a time."""
    padded = np.pad(sound.astype(np.float64), (_WINDOW, _WINDOW + -len(sound) % _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    spectra = np.fft.rfft(frames * _SHAPE, axis=1)
    powers = np.square(np.abs(spectra))
    gains = np.maximum(_gains(powers / _noise(powers)), _LEAST_GAIN)
    pieces = np.fft.irfft(spectra * gains, _WINDOW, axis=1) * _SHAPE
    joined = np.zeros((len(pieces) + 1) * _HOP)
    joined[:-_HOP] += pieces[:, :_HOP].ravel()
    joined[_HOP:] += pieces[:, _HOP:].ravel()
    return joined[_WINDOW : _WINDOW + len(sound)].astype(np.float32)


def _noise(powers: _Powers) -> _Powers:
    """Return the noise's power at each frequency: that of the quietest moments."""
    order = np.argsort(np.log(powers + _NOTHING).mean(axis=1))
    inside = order[np.isin(order, np.arange(2, len(powers) - 2))]  # The first and the last have silence in them.
    quietest = inside[: max(int(len(inside) * _SHARE), _LEAST_FRAMES)]
    noise: _Powers = powers[quietest].mean(axis=0) + _NOTHING
    return noise


def _gains(ratios: _Powers) -> _Powers:
    """Return how much of each moment and frequency is speech, by how far they stand out of the noise.

    What was speech a moment ago is believed to go on (Ephraim and Malah 1984, section V), here from both sides.
    """
    ratios = np.minimum(ratios, _MOST_RATIO)
    both = np.stack([ratios, ratios[::-1]], axis=1)
    excess = (1 - _MEMORY) * np.maximum(both - 1, 0)
    gains = np.empty_like(both)
    spoken = np.maximum(both[0] - 1, 0)
    for moment, ratio in enumerate(both):
        likely = np.maximum(_MEMORY * spoken + excess[moment], _LEAST_RATIO)
        gain = likely / (1 + likely)
        gains[moment] = gain
        spoken = gain * gain * ratio
    mean: _Powers = np.sqrt(gains[:, 0] * gains[::-1, 1])
    return mean
