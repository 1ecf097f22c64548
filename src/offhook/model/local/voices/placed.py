"""Speech whose words have their places: cut to what is audible, brought to its speed, handed out word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from offhook.audio.pcm import Samples, to_bytes
from offhook.audio.stretch import stretch
from offhook.model.local.voices.reading import Reading

# Softer than this is not heard on a telephone: -50 dB of full scale.
_AUDIBLE: Final = 0.00316 * 32768
# What is kept before the first sound and after the last one, so that neither is clipped. A caller waits for the former.
_BEFORE_MS: Final = 8
_AFTER_MS: Final = 20
# Blanks and punctuation at the end of a text: they are what is "said" while the voice rests.
_CLOSE: Final = re.compile(r"[\W_]*\Z")


@dataclass(frozen=True, slots=True)
class Piece:
    """16-bit mono samples and the words that they speak; the texts of all pieces, joined, are the text given.

    ``spoken`` is False for what this voice cannot speak (another script, an emoji): it has no samples.
    """

    pcm: bytes
    rate_hz: int
    text: str
    spoken: bool = True


@dataclass(frozen=True, slots=True)
class Placed:
    """Samples, where each reading ends in them, and where the voice falls silent after the last one."""

    samples: Samples
    rate_hz: int
    ends: npt.NDArray[np.int64]
    voiced_end: int


def settle(
    samples: Samples, rate_hz: int, start: int, ends: npt.NDArray[np.int64], *, rest_ms: int, speed: float
) -> Placed:
    """Cut away the silence before and after, except for a rest of ``rest_ms``, and change the speed.

    ``start`` is where the first word begins at the latest, ``ends`` where each reading ends.
    """
    loud_start, loud_end = audible(samples, rate_hz)
    first = max(min(loud_start, start) - _BEFORE_MS * rate_hz // 1000, 0)
    voiced_end = min(loud_end + _AFTER_MS * rate_hz // 1000, len(samples)) - first
    samples = samples[first : first + voiced_end + rest_ms * rate_hz // 1000]
    ends = np.clip(ends - first, 0, voiced_end)
    if speed != 1.0:
        samples = stretch(samples, rate_hz, speed)
        ends = np.rint(ends / speed).astype(np.int64)
        voiced_end = round(voiced_end / speed)
    return Placed(samples, rate_hz, np.minimum(ends, len(samples)), min(voiced_end, len(samples)))


def audible(samples: Samples, rate_hz: int) -> tuple[int, int]:
    """Return where the first audible stretch of 10 ms begins and the last one ends; the whole when none is."""
    step = rate_hz // 100
    steps = samples[: len(samples) // step * step].reshape(-1, step).astype(np.float64)
    loud = np.flatnonzero((steps**2).mean(axis=1) > _AUDIBLE**2)
    return (int(loud[0]) * step, (int(loud[-1]) + 1) * step) if len(loud) else (0, len(samples))


def silent_pieces(readings: Sequence[Reading], rate_hz: int) -> Iterator[Piece]:
    """Yield what nothing can be heard of; words among it are lost."""
    for reading in readings:
        lost = reading.lost or any(char.isalnum() for char in reading.phonemes)
        yield Piece(b"", rate_hz, reading.text, spoken=not lost)


def pieces(readings: Sequence[Reading], placed: Placed) -> Iterator[Piece]:
    """Yield each reading with its samples; the rest at the end goes with the punctuation there, if there is any."""
    samples, rate_hz = placed.samples, placed.rate_hz
    final = max(index for index, reading in enumerate(readings) if reading.phonemes)
    start = 0
    for index, reading in enumerate(readings):
        if index != final:
            end = max(int(placed.ends[index]), start) if index < final else start
            spoken = bool(reading.phonemes) or not reading.lost
            yield Piece(to_bytes(samples[start:end]), rate_hz, reading.text, spoken)
            start = end
            continue
        close = _CLOSE.search(reading.text)
        cut = close.start() if close and close.start() else len(reading.text)
        end = max(placed.voiced_end, start) if cut < len(reading.text) else len(samples)
        yield Piece(to_bytes(samples[start:end]), rate_hz, reading.text[:cut])
        if cut < len(reading.text):
            yield Piece(to_bytes(samples[end:]), rate_hz, reading.text[cut:])
        start = len(samples)
