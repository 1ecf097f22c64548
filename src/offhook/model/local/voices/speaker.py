"""Speaks: the engine inside a worker process. Synchronous, and alone with its processor.

A text comes out as pieces of sound, word by word, each with exactly the words that it speaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offhook.audio.pcm import Samples, saturate, to_bytes
from offhook.audio.resample import resample_whole
from offhook.audio.stretch import stretch
from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local.voices import assets
from offhook.model.local.voices.acoustic import RATE_HZ, Acoustic
from offhook.model.local.voices.breath import breaths
from offhook.model.local.voices.names import Timbre, timbre
from offhook.model.local.voices.reading import Reader, Reading
from offhook.model.local.voices.text import Phrase, phrases

SLOWEST: Final = 0.25
FASTEST: Final = 1.5
"""The API's bounds of ``speed``."""

# The network was trained on sentences up to this length; expanded numbers may be longer.
_MOST_PHONEMES: Final = 400
# Softer than this is not heard on a telephone: -50 dB of full scale.
_AUDIBLE: Final = 0.00316 * 32768
_LEVEL_STEP_SAMPLES: Final = RATE_HZ // 100
# What is kept before the first sound and after the last one, so that neither is clipped.
_MARGIN_SAMPLES: Final = RATE_HZ // 50
# How long the voice rests after a breath, at most: about half of what it would by itself.
_REST_MS: Final = {".": 320, "!": 320, "?": 320, "…": 400, ",": 140, ";": 200, ":": 200, "—": 180, "\u2013": 180}
_NO_REST_MS: Final = 40

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


class Speaker:
    """The voices of this machine. ``voices`` is a folder with the voice files that a user provides."""

    def __init__(self, voices: Path | None = None) -> None:
        self._folder = voices
        self._voices: dict[str, Acoustic] = {}
        self._readers: dict[bool, Reader] = {}

    def load(self) -> None:
        """Check, load and warm the installed voice. Raises ConfigError with the line that mends it."""
        voice = self._voice(assets.INSTALLED)
        self._reader(voice, british=False).warm()
        for _ in self.speak("Good morning, how can I help you?"):
            pass

    def speak(self, text: str, voice: str = "alloy", speed: float = 1.0) -> Iterator[Piece]:
        """Yield the text's speech as soon as each breath of it is made; ``speed`` is brought into the API's bounds.

        Raises ModelError (``voice_unavailable``) when the voice's file is missing; the network is never asked.
        """
        chosen = timbre(voice)
        try:
            acoustic = self._voice(chosen.model)
        except ConfigError as error:
            raise ModelError("voice_unavailable", str(error)) from error
        british = chosen.model in assets.PROVIDED and assets.PROVIDED[chosen.model].british
        reader = self._reader(acoustic, british=british)
        speed = min(max(speed, SLOWEST), FASTEST)
        for breath in breaths(phrases(text)):
            for group in _within_reach(_silence_joined(reader.read(breath))):
                yield from _pieces(group, acoustic, chosen, speed, _rest_ms(breath))

    def _voice(self, name: str) -> Acoustic:
        if name not in self._voices:
            if name == assets.INSTALLED:
                network = assets.installed_voice()
            else:
                network = assets.provided_voice(name, self._folder)
            self._voices[name] = Acoustic(network)
        return self._voices[name]

    def _reader(self, voice: Acoustic, *, british: bool) -> Reader:
        if british not in self._readers:
            assets.check_tables(british=british)
            self._readers[british] = Reader(voice.alphabet, british=british)
        return self._readers[british]

    def serve(self, task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Answer a worker's task ``{"text", "voice", "speed"}`` with ``{"pcm", "rate_hz", "text", "spoken"}``s."""
        for piece in self.speak(str(task["text"]), str(task.get("voice", "alloy")), float(task.get("speed", 1.0))):
            yield {"pcm": piece.pcm, "rate_hz": piece.rate_hz, "text": piece.text, "spoken": piece.spoken}


def _rest_ms(breath: list[Phrase]) -> int:
    say = next((phrase.say for phrase in reversed(breath) if phrase.say), "").rstrip("\"')]}”\u2019»")
    return _REST_MS.get(say[-1:], _NO_REST_MS)


def _silence_joined(readings: list[Reading]) -> list[Reading]:
    """Give layout, which has no sound of its own, to the words after it, or before it at the end."""
    joined: list[Reading] = []
    waiting = ""
    for reading in readings:
        if not reading.phonemes and not reading.lost:
            waiting += reading.text
            continue
        joined.append(Reading(waiting + reading.text, reading.phonemes, reading.lost))
        waiting = ""
    if waiting and joined:
        last = joined[-1]
        joined[-1] = Reading(last.text + waiting, last.phonemes, last.lost)
    elif waiting:
        joined.append(Reading(waiting, "", lost=False))
    return joined


def _within_reach(readings: list[Reading]) -> Iterator[list[Reading]]:
    """Divide what is too long for the network."""
    group: list[Reading] = []
    count = 0
    for reading in readings:
        if group and count + len(reading.phonemes) + 1 > _MOST_PHONEMES:
            yield group
            group, count = [], 0
        group.append(reading)
        count += len(reading.phonemes) + 1
    yield group


def _pieces(readings: list[Reading], acoustic: Acoustic, chosen: Timbre, speed: float, rest_ms: int) -> Iterator[Piece]:
    phonemes = ""
    last_of: list[int] = []
    for reading in readings:
        if reading.phonemes:
            phonemes += (" " if phonemes else "") + reading.phonemes[: 2 * _MOST_PHONEMES]
        last_of.append(len(phonemes) - 1)
    if not phonemes:
        yield from (Piece(b"", RATE_HZ, reading.text, spoken=not reading.lost) for reading in readings)
        return
    samples, ends, voiced_end = _sound(phonemes, acoustic, chosen, speed, rest_ms)
    places = [0, *(int(ends[last]) if last >= 0 else 0 for last in last_of)]
    final = max(index for index, reading in enumerate(readings) if reading.phonemes)
    for index, reading in enumerate(readings):
        start, end = places[index], places[index + 1]
        if index != final:
            yield Piece(to_bytes(samples[start:end]), RATE_HZ, reading.text, bool(reading.phonemes) or not reading.lost)
            continue
        close = _CLOSE.search(reading.text)
        cut = close.start() if close and close.start() else len(reading.text)
        end = voiced_end if cut < len(reading.text) else len(samples)
        yield Piece(to_bytes(samples[start:end]), RATE_HZ, reading.text[:cut])
        if cut < len(reading.text):
            yield Piece(to_bytes(samples[end:]), RATE_HZ, reading.text[cut:])


def _sound(
    phonemes: str, acoustic: Acoustic, chosen: Timbre, speed: float, rest_ms: int
) -> tuple[Samples, npt.NDArray[np.int64], int]:
    """Return the samples, where each phoneme ends in them, and where the last one does."""
    of, to = chosen.grown
    drawn = acoustic.draw(phonemes, chosen.melody * to / of, to / of)
    samples = saturate(drawn.wave * 32768)
    start, ends = drawn.start_sample, drawn.ends
    if of != to:
        # Taken for samples of another rate, all its frequencies lie elsewhere by the same factor.
        samples = resample_whole(samples, RATE_HZ * of // to, RATE_HZ)
        start, ends = start * to // of, ends * to // of
    loud = _loud(samples)
    first = max(min(loud[0], start) - _MARGIN_SAMPLES, 0)
    voiced_end = min(loud[1] + _MARGIN_SAMPLES, len(samples))
    samples = samples[first : min(voiced_end + rest_ms * RATE_HZ // 1000, len(samples))]
    ends = np.minimum(ends - first, voiced_end - first)
    if speed != 1.0:
        samples = stretch(samples, RATE_HZ, speed)
        ends = np.rint(ends / speed).astype(np.int64)
    return samples, np.clip(ends, 0, len(samples)), min(round((voiced_end - first) / speed), len(samples))


def _loud(samples: Samples) -> tuple[int, int]:
    """Return where the first and the last audible stretch of 10 ms begins and ends."""
    steps = samples[: len(samples) // _LEVEL_STEP_SAMPLES * _LEVEL_STEP_SAMPLES].reshape(-1, _LEVEL_STEP_SAMPLES)
    loud = np.flatnonzero((steps.astype(np.float64) ** 2).mean(axis=1) > _AUDIBLE**2)
    if not len(loud):
        return 0, len(samples)
    return int(loud[0]) * _LEVEL_STEP_SAMPLES, (int(loud[-1]) + 1) * _LEVEL_STEP_SAMPLES
