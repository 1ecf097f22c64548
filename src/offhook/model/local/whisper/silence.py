"""The silence that fills Whisper's context behind speech, encoded once instead of behind every stretch.

Whisper wants to see the end of speech followed by seconds of silence, and encoding those is most of its work. What the
encoder makes of them depends little on what was said, so that the silence behind a voice that is nobody's serves all.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from offhook.model.local.whisper.features import RATE_HZ, Floats

MARGIN_S: Final = 0.5
"""So much of the silence at least is encoded with the speech, which ends in it."""

_STEP_S: Final = 0.5
_LEAD_S: Final = 0.3
_SYLLABLE_S: Final = 0.2
_VOICE_S: Final = 2.0
_PITCH_HZ: Final = 180.0
_HIGHEST_HZ: Final = 3400.0
_LOUDEST: Final = 1.1  # Its loudest band is then as loud as those of people who speak up.
# The resonances of five vowels in Hz, with their widths and strengths.
_VOWELS: Final = np.array(
    [(700, 1200, 2500), (300, 2300, 3000), (500, 1800, 2600), (350, 800, 2400), (600, 1000, 2500)]
)
_WIDTHS_HZ: Final = (80.0, 100.0, 150.0)
_STRENGTHS: Final = (1.0, 0.5, 0.25)


def span_s(seconds: float) -> float:
    """Return how much of the context is to be encoded for so much speech."""
    return float(np.ceil((seconds + MARGIN_S) / _STEP_S) * _STEP_S)


def voice() -> Floats:
    """Return two seconds of vowels at 16 kHz, as a telephone carries them."""
    at_s = np.arange(round(_VOICE_S * RATE_HZ)) / RATE_HZ
    pitch_hz = _PITCH_HZ * (1 + 0.15 * np.sin(2 * np.pi * 1.1 * at_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / RATE_HZ
    vowels = _VOWELS[(at_s / _SYLLABLE_S).astype(int) % len(_VOWELS)]
    sound = np.zeros(len(at_s))
    for number in range(1, int(_HIGHEST_HZ / _PITCH_HZ) + 1):
        heights = (vowels - number * pitch_hz[:, None]) / _WIDTHS_HZ
        sound += np.cos(number * phase) * (_STRENGTHS / (1 + heights**2)).sum(axis=1)
    sound *= np.sqrt(np.sin(np.pi * (at_s / _SYLLABLE_S % 1)))
    sound *= _LOUDEST / np.abs(sound).max()
    return np.concatenate([np.zeros(round(_LEAD_S * RATE_HZ)), sound]).astype(np.float32)
