"""What a line carries when nobody speaks: of none of it there may be a turn, nor a word."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from offhook.audio.pcm import Samples, saturate

RATE_HZ = 8000


def noise(seconds: float, level: float, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(0, level, int(seconds * RATE_HZ))


def tones(seconds: float, *hz: float, on_s: float = 1e9, period_s: float = 1e9) -> Any:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return sum(np.sin(2 * np.pi * each * time) for each in hz) * 4000 * (time % period_s < on_s)


def breath(seconds: float) -> Any:
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    rough = np.convolve(noise(seconds, 3000), np.ones(4) / 4, "same")
    return rough * np.clip(np.sin(2 * np.pi * 0.35 * time), 0, 1) ** 2


def _clicks(seconds: float) -> Any:
    return np.where(np.arange(int(seconds * RATE_HZ)) % 3571 == 99, 20000, 0)


_SOUNDS = {
    "digital silence": lambda s: noise(s, 0),
    "comfort noise": lambda s: noise(s, 30),
    "loud line noise": lambda s: noise(s, 1000),
    "ring-back": lambda s: tones(s, 440, 480, on_s=2, period_s=6),
    "busy tone": lambda s: tones(s, 480, 620, on_s=0.5, period_s=1),
    "dialled digits": lambda s: tones(s, 770, 1336, on_s=0.15, period_s=0.3),
    "a beep": lambda s: tones(s, 1000),
    "mains hum": lambda s: tones(s, 50, 150),
    "breath": breath,
    "clicks": _clicks,
}


def _sound(make: Callable[[float], Any], seconds: float) -> Samples:
    return saturate(np.asarray(make(seconds), dtype=np.float64))


SOUNDS: dict[str, Callable[[float], Samples]] = {name: partial(_sound, make) for name, make in _SOUNDS.items()}
"""Each makes so many seconds."""
