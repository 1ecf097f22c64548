"""A backend of three parts: speech to text, a language model, text to speech.

The voice begins with the first sentence while the model still produces the next one. When a part has failed, the caller
hears a sentence that says so, where one is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, TypeAlias, cast

from offhook.model.fallback import Order, call_report, stop_part
from offhook.model.interface import (
    Capabilities,
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
from offhook.model.ordered import OrderedEar, OrderedMind, OrderedVoice
from offhook.model.sentence import SentenceCutter
from offhook.session.inputs import AudioProduced, GenerationFinished, TextProduced, ToolCallStarted, WordsFinished
from offhook.session.outputs import Generate
from offhook.telemetry.log import FactLog
from offhook.wire.items import InputAudio, Message
from offhook.wire.session import TranscriptionEcho, Voice

# Sentences that wait for the voice. The model is faster than speech; this keeps it from running far ahead.
MAX_WAITING_SENTENCES = 8
# Words and sounds that wait for the call's task; then the model has to wait.
MAX_WAITING_OUTPUTS = 256
# A voice that failed is back by then, if it comes back at all; the failure is not told before.
APOLOGY_S = 6.0

_Outputs: TypeAlias = "asyncio.Queue[ModelOutput | Exception | None]"
# Each with the number of its message.
_Sentences: TypeAlias = "asyncio.Queue[tuple[str, int] | None]"


class Cascade:
    """Speech to text, then a language model, then text to speech. ``apology`` is said when one of them failed."""

    def __init__(
        self, name: str, hearing: SpeechToText, mind: LanguageModel, voice: TextToSpeech, apology: str = ""
    ) -> None:
        self.name = name
        self._hear_early = getattr(hearing, "hear_early", None)
        self.capabilities = Capabilities(
            needs_transcripts=True,
            hears_early=getattr(hearing, "hears_early", self._hear_early is not None),
            reasons=getattr(mind, "reasons", False),
            tells_speakers=getattr(hearing, "tells_speakers", False),
        )
        self._hearing = hearing
        self._mind = mind
        self._voice = voice
        self._apology = apology

    @property
    def queue_wait_ms(self) -> float:
        """The longest wait of the parts that have queues."""
        return max(getattr(part, "queue_wait_ms", 0.0) for part in (self._hearing, self._mind, self._voice))

    @property
    def orders(self) -> list[Order[Any]]:
        """Who plays the parts, of those that several can play."""
        parts = (self._hearing, self._mind, self._voice)
        return [part.order for part in parts if isinstance(part, OrderedEar | OrderedMind | OrderedVoice)]

    def report(self) -> dict[str, Any]:
        """Name the parts, with the figures of those that have some."""
        parts: dict[str, SpeechToText | LanguageModel | TextToSpeech]
        parts = {"ear": self._hearing, "brain": self._mind, "voice": self._voice}
        shown = {role: {"name": part.name} | call_report(part) for role, part in parts.items()}
        return {"name": self.name, **shown}

    async def start(self) -> None:
        """Start the parts that have to be started, side by side; all of them run, or none."""
        starts = [getattr(part, "start", None) for part in (self._hearing, self._mind, self._voice)]
        ends = await asyncio.gather(*(start() for start in starts if start is not None), return_exceptions=True)
        failures = [end for end in ends if isinstance(end, BaseException)]
        if failures:
            await self.stop()
            raise failures[0]

    async def stop(self) -> None:
        """Stop the parts that have to be stopped."""
        for part in (self._voice, self._mind, self._hearing):
            await stop_part(part, FactLog("models"))

    def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller."""
        return self._hearing.transcribe(speech, wanted)

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> EarlyHearing | None:
        """Begin to transcribe what may be a whole turn, where the ear offers that and has the time."""
        hearing: EarlyHearing | None = self._hear_early(speech, wanted) if self._hear_early is not None else None
        return hearing

    def say(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the sound of given words."""
        return self._voice.speak(text, voice, speed)

    def hear_so_far(self, speech: Speech, wanted: TranscriptionEcho | None) -> EarlyHearing | None:
        """Begin to transcribe a turn that goes on, where the ear offers that and has the time."""
        return self._hearing.hear_so_far(speech, wanted) if isinstance(self._hearing, HearsSoFar) else None

    def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield words, and with them their sound when the response is spoken.

        Raises ModelError, also when it would answer a turn of which nobody knows the words.
        """
        return self._respond_in_writing(request) if request.modality == "text" else self._respond_aloud(request)

    async def _respond_in_writing(self, request: Generate) -> AsyncIterator[ModelOutput]:
        _refuse_unheard(request)
        async with aclosing(cast("Any", self._mind.generate(request))) as outputs:
            async for output in outputs:
                yield output

    async def _respond_aloud(self, request: Generate) -> AsyncIterator[ModelOutput]:
        begun = False
        try:
            _refuse_unheard(request)
            async with aclosing(cast("Any", self._answer_aloud(request))) as outputs:
                async for output in outputs:
                    begun = True
                    yield output
        except Exception:  # raised again once the caller has heard an apology
            apology = self._apology if request.apology is None else request.apology
            for output in await self._apologize(request, f" {apology}" if begun else apology):
                yield output
            raise

    async def _apologize(self, request: Generate, words: str) -> list[ModelOutput]:
        """Return an apology and its sound; nothing when the voice fails too."""
        if not words.strip():
            return []
        try:
            async with asyncio.timeout(APOLOGY_S):
                sounds = [sound async for sound in self._voice.speak(words, request.voice, request.speed)]
        except (ModelError, TimeoutError):
            return []
        return [TextProduced(request.run, words), *(_produced(request.run, each, each.text) for each in sounds)]

    async def _answer_aloud(self, request: Generate) -> AsyncIterator[ModelOutput]:
        outputs: _Outputs = asyncio.Queue(MAX_WAITING_OUTPUTS)
        sentences: _Sentences = asyncio.Queue(MAX_WAITING_SENTENCES)
        thinking = asyncio.create_task(_until_failure(self._think(request, outputs, sentences), outputs))
        speaking = asyncio.create_task(_until_failure(self._speak(request, outputs, sentences), outputs))
        end = GenerationFinished(request.run)
        try:
            while (output := await outputs.get()) is not None:
                if isinstance(output, Exception):
                    raise output
                if isinstance(output, GenerationFinished):
                    end = output  # it comes after the last sound
                else:
                    yield output
            yield end
        finally:
            thinking.cancel()
            speaking.cancel()
            await asyncio.gather(thinking, speaking, return_exceptions=True)

    async def _think(self, request: Generate, outputs: _Outputs, sentences: _Sentences) -> None:
        cutter = SentenceCutter()
        message, within = -1, False
        async for output in self._mind.generate(request):
            if isinstance(output, TextProduced) and not within:
                if not output.text.strip():
                    continue  # a message begins with a word
                message, within = message + 1, True
            await outputs.put(output)
            match output:
                case TextProduced(text=text):
                    for sentence in cutter.feed(text):
                        await sentences.put((sentence, message))
                case ToolCallStarted():
                    within = False
                    if rest := cutter.flush():
                        await sentences.put((rest, message))
                case GenerationFinished(reason="stop"):
                    await outputs.put(WordsFinished(request.run))
                case _:
                    pass
        if rest := cutter.flush():
            await sentences.put((rest, message))
        await sentences.put(None)

    async def _speak(self, request: Generate, outputs: _Outputs, sentences: _Sentences) -> None:
        # A voice with others in reserve never changes back within an answer.
        speaker = getattr(self._voice, "speaker", None)
        voice: TextToSpeech = self._voice if speaker is None else speaker()
        while (waiting := await sentences.get()) is not None:
            sentence, message = waiting
            if not sentence.strip():
                continue
            unplaced = sentence
            async for sound in voice.speak(sentence, request.voice, request.speed):
                # A voice that does not place its words speaks the whole sentence from its first piece on.
                text, unplaced = sound.text or unplaced, ""
                await outputs.put(_produced(request.run, sound, text, message))
        await outputs.put(None)


def _refuse_unheard(request: Generate) -> None:
    """Raise ModelError for a turn whose transcript failed, unless the client said what to do about it."""
    last = request.items[-1] if request.items else None
    if request.directed or not isinstance(last, Message) or last.role != "user":
        return
    if any(isinstance(part, InputAudio) and part.transcript is None for part in last.content):
        raise ModelError("not_understood", "The words of the caller are not known: their transcription failed.")


async def _until_failure(work: Coroutine[Any, Any, None], outputs: _Outputs) -> None:
    try:
        await work
    except Exception as failure:  # raised again by whoever reads the outputs
        await outputs.put(failure)


def _produced(run: int, sound: Sound, text: str, message: int | None = None) -> AudioProduced:
    return AudioProduced(run, sound.pcm, sound.rate_hz, sound.duration_ms, text, message)
