"""A voice that stands in for another: when an endpoint does not speak, the answer is finished by the local voice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, cast

from offhook.errors import ConfigError
from offhook.model.interface import ModelError, Sound, TextToSpeech
from offhook.telemetry.log import FactLog
from offhook.wire.session import Voice

# With another voice at hand nobody has to wait for the first sound until the endpoint's own time is over.
FIRST_SOUND_S: Final = 4.0
# An endpoint that has failed is left alone for so long, or every answer would begin with waiting for it.
REST_S: Final = 15.0


class ReservedVoice:
    """Speaks with ``first``, and with ``reserve`` what that one could not say. The reserve may fail to start."""

    def __init__(
        self, first: TextToSpeech, reserve: TextToSpeech, clock: Callable[[], float], log: FactLog | None = None
    ) -> None:
        self._first = first
        self._reserve = reserve
        self._clock = clock
        self._log = log or FactLog("voice")
        self._is_ready = False
        self._rests_until: float | None = None
        self.stood_in = 0
        """Answers that the reserve had to finish."""

    @property
    def name(self) -> str:
        """The voice that ought to speak."""
        return self._first.name

    @property
    def queue_wait_ms(self) -> float:
        """How long a sentence waits for a worker of the reserve, which only matters while that speaks."""
        return getattr(self._reserve, "queue_wait_ms", 0.0) if self._rests_until is not None else 0.0

    def report(self) -> dict[str, Any]:
        """Name the reserve, and count what it had to do."""
        name = self._reserve.name if self._is_ready else None
        return {"reserve": name, "stood_in": self.stood_in, "resting": self._is_resting}

    async def start(self) -> None:
        """Start both; without its reserve the endpoint still speaks."""
        await _call(self._first, "start")
        try:
            await _call(self._reserve, "start")
            self._is_ready = True
        except ConfigError as problem:
            self._log.warning("no local voice stands in for the endpoint", why=problem)

    async def stop(self) -> None:
        """Stop both."""
        self._is_ready = False
        await _call(self._reserve, "stop")
        await _call(self._first, "stop")

    @property
    def _is_resting(self) -> bool:
        return self._rests_until is not None and self._clock() < self._rests_until

    def speaker(self) -> TextToSpeech:
        """Return a voice for one answer: once the reserve has spoken in it, that speaks to its end."""
        return _Answer(self)

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech of a text that is an answer of its own. Raises ModelError when both voices fail."""
        async with aclosing(cast("Any", self.speaker().speak(text, voice, speed))) as sounds:
            async for sound in sounds:
                yield sound

    # -- for the answers

    def usable(self) -> bool:
        """Whether the first voice is worth asking."""
        return not (self._is_ready and self._is_resting)

    async def speak_first(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield what the first voice says; it has to begin soon where another one could."""
        async with aclosing(cast("Any", self._first.speak(text, voice, speed))) as sounds:
            try:
                async with asyncio.timeout(FIRST_SOUND_S if self._is_ready else None):
                    sound = await anext(sounds, None)
            except TimeoutError:
                raise ModelError("model_timeout", f"{self.name} said nothing for {FIRST_SOUND_S:g} s.") from None
            while sound is not None:
                yield sound
                sound = await anext(sounds, None)
        if self._rests_until is not None:
            self._rests_until = None
            self._log.info("the voice speaks again", voice=self.name)

    def stand_in(self, failure: ModelError | None) -> TextToSpeech:
        """Return the reserve, and take note why. Raises the failure when there is none."""
        if not self._is_ready:
            assert failure is not None
            raise failure
        if failure is not None:
            if self._rests_until is None:
                self._log.warning("the voice failed; the local one stands in", code=failure.code, why=failure.message)
            self._rests_until = self._clock() + REST_S
        self.stood_in += 1
        return self._reserve


class _Answer:
    """One answer: its sentences, one after the other."""

    def __init__(self, voices: ReservedVoice) -> None:
        self._voices = voices
        self._reserve: TextToSpeech | None = None

    @property
    def name(self) -> str:
        """The voice that ought to speak."""
        return self._voices.name

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech of a sentence, of which nobody has to miss the end."""
        begun = False
        if self._reserve is None and self._voices.usable():
            try:
                async with aclosing(cast("Any", self._voices.speak_first(text, voice, speed))) as sounds:
                    async for sound in sounds:
                        begun = True
                        yield sound
            except ModelError as failure:
                self._reserve = self._voices.stand_in(failure)
            else:
                return
        if self._reserve is None:
            self._reserve = self._voices.stand_in(None)
        async with aclosing(cast("Any", self._reserve.speak(text, voice, speed))) as sounds:
            async for sound in sounds:
                # A sentence that broke off is said again from its beginning; its words are told once.
                yield Sound(sound.pcm, sound.rate_hz) if begun else sound


async def _call(part: TextToSpeech, name: str) -> None:
    method = getattr(part, name, None)
    if method is not None:
        await method()
