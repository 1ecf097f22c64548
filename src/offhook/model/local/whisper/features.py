"""The log-mel spectrogram that Whisper was trained on (Radford et al. 2022, section 2.2), in numpy.

Windows of 25 ms every 10 ms, mel bands on Slaney's scale with unit area, and 80 dB below the loudest band at most. The
silence that fills the model's context is written, not computed: its bands have the floor's value.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

RATE_HZ: Final = 16000
WINDOW_SAMPLES: Final = 400
HOP_SAMPLES: Final = 160
FRAMES_A_SECOND: Final = RATE_HZ // HOP_SAMPLES

_HALF: Final = WINDOW_SAMPLES // 2
_LEAST: Final = 1e-10
_RANGE_BELS: Final = 8.0
# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above.
_LINEAR_HZ: Final = 200.0 / 3
_BREAK_HZ: Final = 1000.0
_BREAK_MEL: Final = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP: Final = np.log(6.4) / 27

Floats = npt.NDArray[np.float32]


def _to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < _BREAK_MEL, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


@lru_cache(maxsize=2)
def mel_filters(bands: int) -> Floats:
    """Return the triangular filters: ``(201, bands)``, from the power of each frequency to that of each band."""
    top_mel = _BREAK_MEL + np.log(RATE_HZ / 2 / _BREAK_HZ) / _LOG_STEP
    edges_hz = _to_hz(np.linspace(0.0, top_mel, bands + 2))
    low, middle, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    hz = np.linspace(0.0, RATE_HZ / 2, _HALF + 1)[:, None]
    triangles = np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle))
    return (np.maximum(triangles, 0.0) * (2.0 / (high - low))).astype(np.float32)


@lru_cache(maxsize=1)
def _window() -> Floats:
    phase = 2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def log_mel(sound: Floats, frames: int, bands: int = 80) -> Floats:
    """Return the ``(bands, frames)`` picture of a sound at 16 kHz in -1 to 1, with silence behind it.

    The sound may fill at most ``frames`` steps of 10 ms.
    """
    total = frames * HOP_SAMPLES
    assert len(sound) <= total
    heard = min(frames, (len(sound) + _HALF) // HOP_SAMPLES + 1)
    # Every window is centred on its step; before the start, and behind a context that is full, the sound is mirrored.
    reach = (heard - 1) * HOP_SAMPLES + _HALF
    inside = np.zeros(max(min(reach, total), _HALF + 1), np.float32)
    inside[: len(sound)] = sound
    after = inside[-2 : -2 - max(reach - total, 0) : -1]
    mirrored = np.concatenate([inside[_HALF:0:-1], inside, after])
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, WINDOW_SAMPLES)[::HOP_SAMPLES][:heard]
    spectrum = np.fft.rfft(windows * _window(), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    picture = np.full((bands, frames), np.log10(_LEAST), np.float32)
    picture[:, :heard] = np.log10(np.maximum(power @ mel_filters(bands), _LEAST)).T
    np.maximum(picture, picture.max() - _RANGE_BELS, out=picture)
    picture += 4.0
    picture /= 4.0
    return picture
