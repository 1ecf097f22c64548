"""The parts of a cascade, each played by the backends of an order, with a word about who did how much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from offhook.model.fallback import Order, Seat, closing_outputs
from offhook.model.interface import (
    EarlyHearing,
    HearsSoFar,
    LanguageModel,
    ModelError,
    ModelOutput,
    Sound,
    Speech,
    SpeechToText,
    TextToSpeech,
    Words,
)
from offhook.model.metering import Used, estimated_tokens, tell, used_to_hear, used_tokens
from offhook.session.inputs import GenerationFinished, TextProduced, ToolArgumentsProduced
from offhook.session.outputs import Generate
from offhook.wire.server_events import TokensUsage
from offhook.wire.session import TranscriptionEcho, Voice


class _Ordered:
    """What the three have in common."""

    order: Order[Any]

    @property
    def name(self) -> str:
        """The one that ought to play the part."""
        return self.order.seats[0].model

    @property
    def queue_wait_ms(self) -> float:
        """How long a turn waits for whoever takes it now."""
        return self.order.queue_wait_ms

    async def start(self) -> None:
        """Start all of them. Raises ConfigError with the line that mends it."""
        await self.order.start()

    async def stop(self) -> None:
        """Stop all of them."""
        await self.order.stop()

    def report(self) -> dict[str, Any]:
        """Say how they do."""
        return self.order.report()


class OrderedEar(_Ordered):
    """Speech to text by the first that works."""

    def __init__(self, order: Order[SpeechToText]) -> None:
        self.order = order

    @property
    def hears_early(self) -> bool:
        """Whether one of them wants to be asked in the pauses of a turn."""
        return any(hasattr(seat.part, "hear_early") for seat in self.order.seats)

    @property
    def tells_speakers(self) -> bool:
        """Whether one of them may know who of several speakers said what."""
        return any(getattr(seat.part, "tells_speakers", False) for seat in self.order.seats)

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller. Raises ModelError when none of them could be asked or finish."""
        answers = self.order.answers(lambda ear: _heard(ear, speech, wanted))
        usage: TokensUsage | None = None
        async with aclosing(cast("Any", answers)) as pieces:
            async for seat, words in pieces:
                if words is None:
                    tell(used_to_hear(seat.name, speech.seconds, usage))
                else:
                    usage = words.usage or usage
                    yield words

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> EarlyHearing | None:
        """Begin with what may be a whole turn, where whoever takes turns now offers that."""
        seat = self.order.usable()[0]
        begin = getattr(seat.part, "hear_early", None)
        hearing: EarlyHearing | None = None if begin is None else begin(speech, wanted)
        return None if hearing is None else _Early(self, seat, hearing, speech, wanted)

    def hear_so_far(self, speech: Speech, wanted: TranscriptionEcho | None) -> EarlyHearing | None:
        """Begin with a turn that goes on, as above."""
        part = self.order.usable()[0].part
        return part.hear_so_far(speech, wanted) if isinstance(part, HearsSoFar) else None


async def _heard(ear: SpeechToText, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words | None]:
    """Yield the words, and None when they are all there: silence has none, and was heard too."""
    async with closing_outputs(ear.transcribe(speech, wanted)) as pieces:
        async for words in pieces:
            yield words
    yield None


class _Early:
    """A turn that one of them hears early; when that fails, it is heard as if nobody had begun."""

    def __init__(
        self,
        ear: OrderedEar,
        seat: Seat[SpeechToText],
        hearing: EarlyHearing,
        speech: Speech,
        wanted: TranscriptionEcho | None,
    ) -> None:
        self._ear = ear
        self._seat = seat
        self._hearing = hearing
        self._speech = speech
        self._wanted = wanted
        self._is_told = False

    def hasten(self) -> None:
        """The words are needed now."""
        self._hearing.hasten()

    def cancel(self) -> None:
        """They are not needed any more."""
        self._hearing.cancel()

    async def words(self) -> AsyncIterator[Words]:
        """Yield the words. Raises ModelError, ``overloaded`` when others were more urgent."""
        order, begun = self._ear.order, False
        usage: TokensUsage | None = None
        try:
            asked = order.ask(self._seat, lambda _: self._hearing.words(), has_other=False)
            async with aclosing(cast("Any", asked)) as pieces:
                async for words in pieces:
                    begun = True
                    usage = words.usage or usage
                    yield words
        except ModelError as failure:
            if begun or failure.code == "overloaded" or len(order.seats) == 1:
                raise
        else:
            if not self._is_told:
                self._is_told = True
                tell(used_to_hear(self._seat.name, self._speech.seconds, usage))
            return
        async with aclosing(cast("Any", self._ear.transcribe(self._speech, self._wanted))) as pieces:
            async for words in pieces:
                yield words


class OrderedMind(_Ordered):
    """A language model, the first that works."""

    def __init__(self, order: Order[LanguageModel]) -> None:
        self.order = order

    @property
    def reasons(self) -> bool:
        """Whether one of them is told how much to think."""
        return any(getattr(seat.part, "reasons", False) for seat in self.order.seats)

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield words, function calls and an end. Raises ModelError when none of them could be asked or finish."""
        by: str | None = None
        written: list[str] = []
        used: Used | None = None
        try:
            async with aclosing(cast("Any", self.order.answers(lambda mind: mind.generate(request)))) as outputs:
                async for seat, output in outputs:
                    by = seat.name
                    match output:
                        case TextProduced(text=text) | ToolArgumentsProduced(delta=text):
                            written.append(text)
                        case GenerationFinished(usage=usage) if usage is not None:
                            used = used_tokens("llm", by, usage)
                        case _:
                            pass
                    yield output
        finally:
            # What was broken off has been read and written as well.
            if by is not None:
                tell(used or estimated_tokens("llm", by, request, "".join(written)))


class OrderedVoice(_Ordered):
    """A voice, the first that works; in one answer it changes at most once to each of the others, and never back."""

    def __init__(self, order: Order[TextToSpeech]) -> None:
        self.order = order

    def speaker(self) -> TextToSpeech:
        """Return a voice for one answer."""
        return _Speaker(self.order)

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech of a text that is an answer of its own. Raises ModelError when all of them fail."""
        async with aclosing(cast("Any", self.speaker().speak(text, voice, speed))) as sounds:
            async for sound in sounds:
                yield sound


class _Speaker:
    """One answer: its sentences, one after the other."""

    def __init__(self, order: Order[TextToSpeech]) -> None:
        self._order = order
        self._left = order.usable()
        self.name = self._left[0].model

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech of a sentence, of which nobody has to miss the end."""
        broke_off = False
        while True:
            seat, is_last = self._left[0], len(self._left) == 1
            duration_ms = 0.0
            try:
                asked = self._order.ask(seat, lambda part: part.speak(text, voice, speed), has_other=not is_last)
                async with aclosing(cast("Any", asked)) as sounds:
                    async for sound in sounds:
                        # A sentence that broke off is said again from its beginning; its words are told once.
                        duration_ms += sound.duration_ms
                        yield Sound(sound.pcm, sound.rate_hz) if broke_off else sound
                return
            except Exception:  # as in any order of parts: the next one says the sentence
                if is_last:
                    raise
                self._left.pop(0)
                broke_off = broke_off or duration_ms > 0
            finally:
                if duration_ms:
                    tell(Used("tts", seat.name, audio_s=duration_ms / 1000, characters=len(text)))
