"""What a session needs of a model, and nothing else.

A *backend* answers whole turns: it takes a ``Generate`` and yields what the conversation engine reads (words, audio,
function calls, an end). A cascade builds one of three parts: speech to text, a language model, text to speech. Whoever
implements one of these protocols can be plugged in; whatever goes wrong is raised as ``ModelError``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

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
from offhook.wire.server_events import TokensUsage
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
    """What a backend can do.

    ``needs_transcripts``: it reads words, so responses wait for those of the caller. ``hears_early``: it wants to be
    asked in the pauses of a turn. ``reasons``: it can be told how much to think. ``tells_speakers``: it may know who of
    several speakers said what.
    """

    needs_transcripts: bool
    hears_early: bool = False
    reasons: bool = False
    tells_speakers: bool = False


@dataclass(frozen=True, slots=True)
class Speech:
    """A stretch of the caller's audio: 16-bit mono samples. ``language``: what the call was found to speak before."""

    pcm: bytes
    rate_hz: int
    language: str = ""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.pcm) / 2 / self.rate_hz


@dataclass(frozen=True, slots=True)
class Segment:
    """What one speaker said, from when to when, in seconds from the beginning of the speech."""

    text: str
    speaker: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Words:
    """Some words of a transcript, in order; together they are all of it. ``language``: the speech's, where sure.

    ``usage``: the tokens of the whole transcript, where the recogniser counts them; the last that is told holds.
    ``segments``: who said what, where that was asked for (`tells_speakers` of the model's name) and is known; their
    texts are not among the words by themselves.
    """

    text: str
    logprobs: tuple[LogProb, ...] = ()
    language: str = ""
    usage: TokensUsage | None = None
    segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class Sound:
    """A piece of speech: 16-bit mono samples, and the words it speaks when the voice knows them.

    A voice gives all words of what it was asked to speak, beginning with its first piece, or none.
    """

    pcm: bytes
    rate_hz: int
    text: str = ""

    @property
    def duration_ms(self) -> float:
        """How long it is."""
        return len(self.pcm) / 2 * 1000 / self.rate_hz


class SpeechToText(Protocol):
    """Turns a caller's speech into words. ``name`` is for people, as it is of the other parts."""

    @property
    def name(self) -> str:
        """What it is."""
        ...

    def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words as they are known; none when nobody spoke. Raises ModelError."""
        ...


class LanguageModel(Protocol):
    """Answers a conversation in words and function calls."""

    @property
    def name(self) -> str:
        """What it is."""
        ...

    def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield words, function calls (one after the other) and an end, all with ``request.run``. Raises ModelError."""
        ...


class TextToSpeech(Protocol):
    """Speaks."""

    @property
    def name(self) -> str:
        """What it is."""
        ...

    def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the speech of a sentence or two, in pieces of any size. Raises ModelError."""
        ...


class EarlyHearing(Protocol):
    """Speech on its way to words before anybody knows whether they will be needed. It goes on by itself."""

    def hasten(self) -> None:
        """They are needed now."""
        ...

    def cancel(self) -> None:
        """They are not needed any more; costs nothing when they are known."""
        ...

    def words(self) -> AsyncIterator[Words]:
        """Yield the words. Raises ModelError, ``overloaded`` when others were more urgent."""
        ...


@runtime_checkable
class HearsSoFar(Protocol):
    """A backend that has words of a turn that goes on."""

    def hear_so_far(self, speech: Speech, wanted: TranscriptionEcho | None) -> EarlyHearing | None:
        """Begin to transcribe the turn up to now; None where nobody has the time for what only serves to read along."""
        ...


class Backend(Protocol):
    """A whole model. One of them serves all calls; it keeps nothing about a call between two requests."""

    name: str
    capabilities: Capabilities

    @property
    def queue_wait_ms(self) -> float:
        """How long a request has to wait for its turn now; calls are refused when that is too long."""
        ...

    def report(self) -> dict[str, Any]:
        """Say what it consists of and how it does, for people; ``name`` is among it."""
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

    def say(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield the sound of given words. Raises ModelError."""
        ...

    def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words of the caller. Raises ModelError."""
        ...

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> EarlyHearing | None:
        """Begin to transcribe what may be a whole turn; None where that is not offered, or not now."""
        ...
