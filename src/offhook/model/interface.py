"""What a session needs of a model, and nothing else.

A *backend* answers whole turns: it takes a ``Generate`` and yields what the conversation engine reads (words, audio,
function calls, an end). A cascade builds one of three parts: speech to text, a language model, text to speech. Whoever
implements one of these protocols can be plugged in; whatever goes wrong is raised as ``ModelError``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from offhook.errors import RemoteError
from offhook.session.inputs import (
    AudioProduced,
    GenerationFinished,
    TextProduced,
    ToolArgumentsProduced,
    ToolCallStarted,
    WordsFinished,
)
from offhook.session.outputs import Generate
from offhook.wire.items import LogProb
from offhook.wire.session import TranscriptionEcho, Voice


class ModelError(RemoteError):
    """A model did not do its part.

    ``code`` is what ``response.done`` or ``...transcription.failed`` says; ``message`` is for people, without secrets.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


ModelOutput = (
    TextProduced | AudioProduced | ToolCallStarted | ToolArgumentsProduced | WordsFinished | GenerationFinished
)
"""What a backend yields. The last one is a ``GenerationFinished``."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do. ``needs_transcripts``: it reads words, so responses wait for those of the caller."""

    needs_transcripts: bool


@dataclass(frozen=True, slots=True)
class Speech:
    """A stretch of the caller's audio: 16-bit mono samples."""

    pcm: bytes
    rate_hz: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.pcm) / 2 / self.rate_hz


@dataclass(frozen=True, slots=True)
class Words:
    """Some words of a transcript, in order; together they are all of it."""

    text: str
    logprobs: tuple[LogProb, ...] = ()


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of speech: 16-bit mono samples, and the words it speaks when the voice knows them.

    A voice gives all words of what it was asked to speak, beginning with its first piece, or none.
    """

    pcm: bytes
    rate_hz: int
    text: str = ""


class SpeechToText(Protocol):
    """Turns a caller's speech into words."""

    def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words as they are known; none when nobody spoke. Raises ModelError."""
        ...


class LanguageModel(Protocol):
    """Answers a conversation in words and function calls."""

    def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield words, function calls (one after the other) and an end, all with ``request.run``. Raises ModelError."""
        ...


class TextToSpeech(Protocol):
    """Speaks."""

    def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech of a sentence or two, in pieces of any size. Raises ModelError."""
        ...


class Backend(Protocol):
    """A whole model. One of them serves all calls; it keeps nothing about a call between two requests."""

    name: str
    capabilities: Capabilities

    @property
    def queue_wait_ms(self) -> float:
        """How long a request has to wait for its turn now; calls are refused when that is too long."""
        ...

    async def start(self) -> None:
        """Load and warm what is needed. Raises ConfigError with the line that mends it."""
        ...

    async def stop(self) -> None:
        """Let go of everything."""
        ...

    def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield a response: audio when ``request.modality`` says so. Raises ModelError."""
        ...

    def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller. Raises ModelError."""
        ...
