"""The SVOX Pico voices: a small, clear, old-fashioned voice each for German, French, Spanish, Italian and English.

They do not say when they speak which word. Words are placed by their length, and then moved to the softest moment near
by: about 100 ms off, where the other voice is 25.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offhook.audio.pcm import Samples, from_bytes
from offhook.errors import ConfigError
from offhook.model.local.voices.placed import Placed, audible, settle
from offhook.model.local.voices.reading import Reading
from offhook.model.local.voices.text import Phrase

RATE_HZ: Final = 16000
LANGUAGES: Final = ("de-DE", "en-GB", "es-ES", "fr-FR", "it-IT")
"""The voices' names."""

# At full volume they clip; at this, they are as loud as the other voice.
_VOLUME: Final = 0.2
_STEP_SAMPLES: Final = RATE_HZ // 100
_REACH_STEPS: Final = 8
# In letters: what a pause lasts, and a figure, which is a word.
_PAUSE_LETTERS: Final = 4
_FIGURE_LETTERS: Final = 4


class Pico:
    """All Pico voices; they share an engine."""

    def __init__(self) -> None:
        if find_spec("py_nanotts") is None:
            raise ConfigError("voice", "the Pico voices are not installed", "pip install 'offhook[multilingual]'")
        self._engine: Any = import_module("py_nanotts").NanoTTS()

    @staticmethod
    def read(found: Sequence[Phrase]) -> list[Reading]:
        """Return the phrases as what is given to the engine, which reads them itself."""
        return [Reading(phrase.text, phrase.say, phrase.lost) for phrase in found]

    def say(self, readings: Sequence[Reading], language: str, *, rest_ms: int, speed: float) -> Placed | None:
        """Speak; None when the engine finds nothing to say."""
        said = " ".join(reading.phonemes for reading in readings if reading.phonemes)
        samples = from_bytes(self._engine.speak(said, voice=language, volume=_VOLUME))
        if len(samples) < 2 * _STEP_SAMPLES:
            return None
        ends = _place([reading.phonemes for reading in readings], samples)
        return settle(samples, RATE_HZ, audible(samples, RATE_HZ)[0], ends, rest_ms=rest_ms, speed=speed)


def _place(said: Sequence[str], samples: Samples) -> npt.NDArray[np.int64]:
    first, end = audible(samples, RATE_HZ)
    lengths = np.cumsum([_length(words) for words in said], dtype=np.float64)
    total = max(lengths[-1] - _pause(said[-1]), 1.0)
    guesses = first + lengths / total * (end - first)
    steps = samples[: len(samples) // _STEP_SAMPLES * _STEP_SAMPLES].reshape(-1, _STEP_SAMPLES).astype(np.float64)
    levels = (steps**2).mean(axis=1)
    places = np.zeros(len(said), np.int64)
    for index, guess in enumerate(guesses):
        middle = min(int(guess) // _STEP_SAMPLES, len(levels) - 1)
        low = max(middle - _REACH_STEPS, 0)
        softest = low + int(levels[low : middle + _REACH_STEPS + 1].argmin())
        places[index] = (softest + 1) * _STEP_SAMPLES
    ordered: npt.NDArray[np.int64] = np.maximum.accumulate(places)
    return ordered


def _length(words: str) -> int:
    figures = sum(char.isdigit() for char in words)
    letters = sum(char.isalpha() for char in words)
    return letters + _FIGURE_LETTERS * figures + (1 + _pause(words) if words else 0)


def _pause(words: str) -> int:
    return _PAUSE_LETTERS if words.endswith((",", ";", ":", ".", "!", "?", "…", "—")) else 0
