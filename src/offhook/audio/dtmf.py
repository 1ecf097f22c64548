"""Touch-tone sound (ITU-T Q.23), for peers that cannot do RFC 4733.

Only made, never looked for: detecting digits inside speech costs every call a filter bank and finds digits in voices.
The telephone events of RFC 4733 (`offhook.rtp.telephone_event`) are what we listen to.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from offhook.audio.pcm import Samples, saturate, silence
from offhook.errors import LocalError

DIGITS: Final = "0123456789*#ABCD"
"""In the order of the event codes of RFC 4733 section 3.2: the index is the code."""

_ROWS_HZ: Final = (697, 770, 852, 941)
_COLUMNS_HZ: Final = (1209, 1336, 1477, 1633)
_KEYPAD: Final = ("123A", "456B", "789C", "*0#D")


def frequencies_hz(digit: str) -> tuple[int, int]:
    """Return the low and the high frequency of a digit; `LocalError` if it is none."""
    for row, keys in enumerate(_KEYPAD):
        if len(digit) == 1 and digit in keys:
            return _ROWS_HZ[row], _COLUMNS_HZ[keys.index(digit)]
    raise LocalError(f"{digit!r} is not a DTMF digit: one of {DIGITS}")


def dial(
    digits: str, rate_hz: int = 8000, *, tone_ms: int = 100, pause_ms: int = 100, level_dbfs: float = -9.0
) -> Samples:
    """Generate the sound of digits, each followed by a pause; both frequencies at the given level."""
    pieces = []
    time = np.arange(tone_ms * rate_hz // 1000) / rate_hz
    amplitude = 32767 * 10 ** (level_dbfs / 20)
    for digit in digits:
        low_hz, high_hz = frequencies_hz(digit)
        waves = np.sin(2 * np.pi * low_hz * time) + np.sin(2 * np.pi * high_hz * time)
        pieces += [saturate(amplitude * waves), silence(pause_ms * rate_hz // 1000)]
    return np.concatenate(pieces) if pieces else silence(0)
