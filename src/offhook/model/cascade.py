"""A backend of three parts: speech to text, a language model, text to speech.

The voice begins with the first sentence while the model still produces the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeAlias

from offhook.model.interface import (
    Capabilities,
    LanguageModel,
    ModelOutput,
    Sound,
    Speech,
    SpeechToText,
    TextToSpeech,
    Words,
)
from offhook.model.sentence import SentenceCutter
from offhook.session.inputs import AudioProduced, GenerationFinished, TextProduced, ToolCallStarted, WordsFinished
from offhook.session.outputs import Generate
from offhook.wire.session import TranscriptionEcho

# Sentences that wait for the voice. The model is faster than speech; this keeps it from running far ahead.
MAX_WAITING_SENTENCES = 8
# Words and sounds that wait for the call's task; then the model has to wait.
MAX_WAITING_OUTPUTS = 256

_Outputs: TypeAlias = "asyncio.Queue[ModelOutput | Exception | None]"
# Each with the number of its message.
_Sentences: TypeAlias = "asyncio.Queue[tuple[str, int] | None]"


class Cascade:
    """Speech to text, then a language model, then text to speech."""

    def __init__(self, name: str, hearing: SpeechToText, mind: LanguageModel, voice: TextToSpeech) -> None:
        self.name = name
        self.capabilities = Capabilities(needs_transcripts=True)
        self._hearing = hearing
        self._mind = mind
        self._voice = voice

    @property
    def queue_wait_ms(self) -> float:
        """The longest wait of the parts that have queues."""
        return max(getattr(part, "queue_wait_ms", 0.0) for part in (self._hearing, self._mind, self._voice))

    async def start(self) -> None:
        """Start the parts that have to be started."""
        for part in (self._hearing, self._mind, self._voice):
            start = getattr(part, "start", None)
            if start is not None:
                await start()

    async def stop(self) -> None:
        """Stop the parts that have to be stopped."""
        for part in (self._voice, self._mind, self._hearing):
            stop = getattr(part, "stop", None)
            if stop is not None:
                await stop()

    def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller."""
        return self._hearing.transcribe(speech, wanted)

    def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield words, and with them their sound when the response is spoken."""
        return self._mind.generate(request) if request.modality == "text" else self._respond_aloud(request)

    async def _respond_aloud(self, request: Generate) -> AsyncIterator[ModelOutput]:
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
        while (waiting := await sentences.get()) is not None:
            sentence, message = waiting
            if not sentence.strip():
                continue
            unplaced = sentence
            async for sound in self._voice.speak(sentence, request.voice, request.speed):
                # A voice that does not place its words speaks the whole sentence from its first piece on.
                text, unplaced = sound.text or unplaced, ""
                await outputs.put(_produced(request.run, sound, text, message))
        await outputs.put(None)


async def _until_failure(work: Coroutine[Any, Any, None], outputs: _Outputs) -> None:
    try:
        await work
    except Exception as failure:
        await outputs.put(failure)


def _produced(run: int, sound: Sound, text: str, message: int) -> AudioProduced:
    duration_ms = len(sound.pcm) / 2 * 1000 / sound.rate_hz
    return AudioProduced(run, sound.pcm, sound.rate_hz, duration_ms, text, message)
