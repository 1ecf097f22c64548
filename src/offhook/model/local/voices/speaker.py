"""Speaks: the engine inside a worker process. Synchronous, and alone with its processor.

A text comes out as pieces of sound, word by word, each with exactly the words that it speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from offhook.audio.pcm import saturate
from offhook.audio.resample import resample_whole
from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local.voices import assets, pico
from offhook.model.local.voices.acoustic import RATE_HZ, Acoustic
from offhook.model.local.voices.breath import breaths
from offhook.model.local.voices.names import Timbre, timbre
from offhook.model.local.voices.placed import Piece, Placed, pieces, settle, silent_pieces
from offhook.model.local.voices.reading import PAUSES, Reader, Reading
from offhook.model.local.voices.text import Phrase, phrases

SLOWEST: Final = 0.25
FASTEST: Final = 1.5
"""The API's bounds of ``speed``."""

# The network was trained on sentences up to this length; expanded numbers may be longer.
_MOST_PHONEMES: Final = 400
# How long the voice rests after a breath, at most: about half of what it would by itself.
_REST_MS: Final = {".": 320, "!": 320, "?": 320, "…": 400, ",": 140, ";": 200, ":": 200, "—": 180, "\u2013": 180}
_NO_REST_MS: Final = 40


class Speaker:
    """The voices of this machine. ``voices`` is a folder with the voice files that a user provides."""

    def __init__(self, voices: Path | None = None) -> None:
        self._folder = voices
        self._voices: dict[str, Acoustic] = {}
        self._readers: dict[bool, Reader] = {}
        self._pico: pico.Pico | None = None
        self.about: dict[str, Any] = {"voice": assets.INSTALLED, "sha256": assets.INSTALLED_SHA256}

    def load(self) -> None:
        """Check, load and warm the installed voice. Raises ConfigError with the line that mends it."""
        voice = self._voice(assets.INSTALLED)
        self._reader(voice, british=False).warm()
        for _ in self.speak("Good morning, how can I help you?"):
            pass

    def speak(self, text: str, voice: str = "alloy", speed: float = 1.0) -> Iterator[Piece]:
        """Yield the text's speech as soon as each breath of it is made; ``speed`` is brought into the API's bounds.

        ``voice`` is one of the API's names, of the voice files that a user provides, or of ``pico.LANGUAGES``.
        Raises ModelError (``voice_unavailable``) when its file is missing; the network is never asked.
        """
        speed = min(max(speed, SLOWEST), FASTEST)
        try:
            if voice in pico.LANGUAGES:
                yield from self._speak_pico(text, voice, speed)
            else:
                yield from self._speak_heart(text, timbre(voice), speed)
        except ConfigError as error:
            raise ModelError("voice_unavailable", str(error)) from error

    def _speak_heart(self, text: str, chosen: Timbre, speed: float) -> Iterator[Piece]:
        acoustic = self._voice(chosen.model)
        british = chosen.model in assets.PROVIDED and assets.PROVIDED[chosen.model].british
        reader = self._reader(acoustic, british=british)
        for breath in breaths(phrases(text)):
            for group in _within_reach(_silence_joined(reader.read(breath))):
                if any(set(reading.phonemes) - PAUSES for reading in group):
                    yield from pieces(group, _place(group, acoustic, chosen, speed, _rest_ms(breath)))
                else:
                    yield from silent_pieces(group, RATE_HZ)

    def _speak_pico(self, text: str, language: str, speed: float) -> Iterator[Piece]:
        if self._pico is None:
            self._pico = pico.Pico()
        for breath in breaths(phrases(text, english=language.startswith("en"))):
            group = _silence_joined(self._pico.read(breath))
            heard = any(reading.phonemes for reading in group)
            placed = self._pico.say(group, language, rest_ms=_rest_ms(breath), speed=speed) if heard else None
            yield from pieces(group, placed) if placed else silent_pieces(group, pico.RATE_HZ)

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


def _place(readings: list[Reading], acoustic: Acoustic, chosen: Timbre, speed: float, rest_ms: int) -> Placed:
    phonemes = ""
    last_of: list[int] = []  # Of each reading, the place of its last phoneme; -1 before the first one.
    for reading in readings:
        if reading.phonemes:
            phonemes += (" " if phonemes else "") + reading.phonemes[: 2 * _MOST_PHONEMES]
        last_of.append(len(phonemes) - 1)
    of, to = chosen.grown
    drawn = acoustic.draw(phonemes, chosen.melody * to / of, to / of)
    samples = saturate(drawn.wave * 32768)
    start, ends = drawn.start_sample, drawn.ends[last_of]
    ends[: sum(last < 0 for last in last_of)] = 0
    if of != to:
        # Taken for samples of another rate, all its frequencies lie elsewhere by the same factor.
        samples = resample_whole(samples, RATE_HZ * of // to, RATE_HZ)
        start, ends = start * to // of, ends * to // of
    return settle(samples, RATE_HZ, start, ends, rest_ms=rest_ms, speed=speed)


def load(options: dict[str, Any]) -> Speaker:
    """Return a speaker, checked and warm; ``voices`` is the folder of a user's voice files. Raises ConfigError."""
    folder = options.get("voices")
    speaker = Speaker(Path(folder) if folder else None)
    speaker.load()
    return speaker
