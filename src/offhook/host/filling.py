"""Makes what a caller hears while something is worked on: a beep, a clip, or a sentence in the agent's voice."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, Final, assert_never, cast

import numpy as np

from offhook.audio.pcm import Samples, from_bytes, saturate
from offhook.audio.resample import resample_whole
from offhook.host.converser import Converser
from offhook.host.services import Services
from offhook.host.well_formed import well_formed
from offhook.model.interface import ModelError, Sound
from offhook.model.metering import metered
from offhook.session import inputs as talk
from offhook.session import outputs as do
from offhook.wire.own import Beep, PlayClip, Say

RATE_HZ: Final = 8000
# Two soft notes, then a pause in which the line is heard to be quiet but not dead.
_NOTES: Final = ((440.0, 160), (554.0, 220))
_PERIOD_MS: Final = 2000
_LEVEL_DBFS: Final = -30.0
# A voice that takes longer has nothing to offer to somebody who waits already.
SPEAKING_S: Final = 5.0


def beep() -> Samples:
    """Return one period of the waiting tone: soft, far below speech, without clicks."""
    period = np.zeros(_PERIOD_MS * RATE_HZ // 1000)
    place = 0
    for frequency_hz, duration_ms in _NOTES:
        count = duration_ms * RATE_HZ // 1000
        note = np.sin(2 * np.pi * frequency_hz * np.arange(count) / RATE_HZ) * np.sin(np.pi * np.arange(count) / count)
        period[place : place + count] = note * 32767 * 10 ** (_LEVEL_DBFS / 20)
        place += count
    return saturate(period)


_BEEP: Final = beep()


class Filling:
    """The fillers of one call. Each of them is told to have ended, once: by the audio plane, or here."""

    def __init__(self, owner: Converser, services: Services) -> None:
        self._owner = owner
        self._services = services
        self._speaking: tuple[int, asyncio.Task[None]] | None = None

    def begin(self, wanted: do.Fill | do.MakeFiller) -> None:
        """Let it be heard, or bring it, as soon as it is made."""
        if isinstance(wanted, do.MakeFiller):
            self._start(wanted.number, self._tell_sentence(wanted))
            return
        line, number = self._owner.line, wanted.number
        match wanted.filling:
            case Beep() if line is not None:
                line.fill(number, _BEEP, loops=True)
            case PlayClip(name=name) if line is not None and name in self._services.clips:
                line.fill(number, self._services.clips[name], loops=True)
            case Say(text=text):
                self._start(number, self._play_sentence(wanted, text))
            case Beep() | PlayClip():
                self._owner.take(talk.FillerEnded(number, 0))
            case other:
                assert_never(other)

    def _start(self, number: int, speaking: Coroutine[Any, Any, None]) -> None:
        context = metered(self._owner.note_use)
        self._speaking = number, asyncio.get_running_loop().create_task(speaking, context=context)

    def stop(self, number: int) -> None:
        """End it, also while it is still being made."""
        if self._speaking is not None and self._speaking[0] == number:
            self.close()
            self._owner.take(talk.FillerEnded(number, 0))
        elif self._owner.line is not None:
            self._owner.line.stop_filling()

    def close(self) -> None:
        """Nobody listens any more."""
        if self._speaking is not None:
            self._speaking[1].cancel()
            self._speaking = None

    async def _tell_sentence(self, wanted: do.MakeFiller) -> None:
        pieces = await self._speak(wanted, wanted.text)
        sounds = tuple(talk.FillerSound(piece.pcm, piece.rate_hz, piece.duration_ms) for piece in pieces)
        made = talk.FillerMade(wanted.number, sounds) if sounds else talk.FillerEnded(wanted.number, 0)
        self._owner.take(made)

    async def _play_sentence(self, wanted: do.Fill, text: str) -> None:
        self._play(wanted.number, text, await self._speak(wanted, text))

    async def _speak(self, wanted: do.Fill | do.MakeFiller, text: str) -> list[Sound]:
        """Return what the voice makes of a sentence; nothing when it fails, or needs too long."""
        pieces: list[Sound] = []
        try:
            async with asyncio.timeout(SPEAKING_S):
                # A backend is an async generator; closing it stops what it started.
                async with aclosing(
                    cast("Any", self._services.backend.say(text, wanted.voice, wanted.speed))
                ) as sounds:
                    pieces = [sound async for sound in sounds]
        except (ModelError, TimeoutError) as failure:
            self._owner.log.warning("nothing could be said while the caller waits", why=failure)
        except Exception as bug:  # an adapter may not be ours; the caller only waits in silence
            self._owner.log.error("model adapter failed", failure=bug)
        self._speaking = None
        return pieces

    def _play(self, number: int, text: str, pieces: list[Sound]) -> None:
        line = self._owner.line
        if line is None or not pieces:
            self._owner.take(talk.FillerEnded(number, 0))
            return
        placed = [(well_formed(piece.text), piece.duration_ms) for piece in pieces]
        if not any(words for words, _ in placed):
            # A voice that does not place its words speaks all of them from its first piece on.
            placed = [(text, sum(duration_ms for _, duration_ms in placed))]
        self._owner.take(talk.FillerSpoken(number, tuple(placed)))
        rate_hz = pieces[0].rate_hz
        spoken = from_bytes(b"".join(piece.pcm for piece in pieces if piece.rate_hz == rate_hz))
        line.fill(number, resample_whole(spoken, rate_hz, RATE_HZ), whole=True)
