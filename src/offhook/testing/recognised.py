"""Words for calls to servers that run elsewhere: said with an installed voice, and recognised by the local ear.

Nothing is known there but sound, so what is heard is what a recogniser understands, half a second after it was said.
"""

from __future__ import annotations

from collections import deque
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from offhook.audio.pcm import Samples, from_bytes, to_bytes
from offhook.audio.resample import resample_whole
from offhook.errors import LocalError
from offhook.model.interface import Speech
from offhook.model.local.ear import EarOptions, local_ear
from offhook.model.local.voice import VoiceOptions, local_voice
from offhook.model.local.voices import assets
from offhook.model.local.whisper import folder
from offhook.testing.dialler import load_line
from offhook.testing.hearing import find_utterances
from offhook.testing.speech import RATE_HZ, Word

OVER_MS: Final = 500
"""Silence that ends what is recognised as one piece."""
MARGIN_MS: Final = 100
"""Sound around a piece that a recogniser likes to have."""
MAX_PIECES: Final = 64
"""Pieces that wait to be recognised; later ones are left out. Nobody speaks so much faster than it is understood."""


class LocalSpeech:
    """The local voice and ear, as far as they are installed (``offhook[local]``); started when first needed."""

    def __init__(self) -> None:
        self._ear: Any = None
        self._voice: Any = None

    async def say(self, text: str) -> Samples:
        """Return a text, or a WAV file, as 8 kHz samples. Raises LocalError when nothing here can speak."""
        if Path(text).suffix.lower() == ".wav" or not assets.is_installed():
            return load_line(text).samples
        if self._voice is None:
            self._voice = local_voice(VoiceOptions())
            await self._voice.start()
        async with aclosing(cast("Any", self._voice.speak(text, "alloy", 1.0))) as spoken:
            sounds = [resample_whole(from_bytes(sound.pcm), sound.rate_hz, RATE_HZ) async for sound in spoken]
        return np.concatenate(sounds) if sounds else np.zeros(0, np.int16)

    async def words(self, samples: Samples) -> str:
        """Return what is understood of a piece of speech. Raises LocalError when nothing here can hear."""
        if self._ear is None:
            whisper = EarOptions().whisper
            if not folder.is_installed(whisper):
                raise LocalError(f"no words are heard without a recogniser: {folder.how_to_install(whisper)}")
            self._ear = local_ear(EarOptions(workers=1))
            await self._ear.start()
        async with aclosing(cast("Any", self._ear.transcribe(Speech(to_bytes(samples), RATE_HZ), None))) as pieces:
            return "".join([piece.text async for piece in pieces])

    async def stop(self) -> None:
        """Let go of both."""
        for part in (self._ear, self._voice):
            if part is not None:
                await part.stop()


class RecognisingEar:
    """Hears the words of one call by recognising each stretch of speech once it is over."""

    def __init__(self, speech: LocalSpeech) -> None:
        self.heard: list[Word] = []
        self.taken = 0
        self._speech = speech
        self._kept: Samples = np.zeros(0, np.int16)
        self._waiting: deque[tuple[int, int, Samples]] = deque()

    def take(self, samples: Samples) -> None:
        """Take more of the sound."""
        self._kept = np.concatenate([self._kept, samples])
        self.taken += len(samples)
        self._cut(OVER_MS)

    def end(self) -> None:
        """No more sound comes."""
        self._cut(0)

    def _cut(self, over_ms: int) -> None:
        """Take the stretches of speech that are over out of what is kept."""
        start_ms = (self.taken - len(self._kept)) * 1000 // RATE_HZ
        length_ms = len(self._kept) * 1000 // RATE_HZ
        done_ms = 0
        for utterance in find_utterances(self._kept):
            if utterance.end_ms + over_ms > length_ms or len(self._waiting) >= MAX_PIECES:
                break
            done_ms = min(utterance.end_ms + MARGIN_MS, length_ms)
            piece = self._kept[max(utterance.start_ms - MARGIN_MS, 0) * 8 : done_ms * 8]
            self._waiting.append((start_ms + utterance.start_ms, start_ms + utterance.end_ms, piece))
        self._kept = self._kept[done_ms * 8 :]

    async def settle(self) -> None:
        """Recognise what waits. Raises LocalError when nothing here can hear, ModelError when that fails."""
        while self._waiting:
            start_ms, end_ms, piece = self._waiting.popleft()
            words = (await self._speech.words(piece)).split()
            if not words:
                continue
            letters = [len(word) + 1 for word in words]
            # Where in the piece each word was is not known: they are spread over it by their letters.
            edges = [start_ms + (end_ms - start_ms) * sum(letters[:at]) // sum(letters) for at in range(len(words) + 1)]
            self.heard += [Word(word, *edges[index : index + 2]) for index, word in enumerate(words)]
