"""Everything that can happen to a conversation. Past tense: it has happened already, somewhere else."""

from __future__ import annotations

from typing import Literal

import msgspec

from offhook.wire.client_events import ClientEvent
from offhook.wire.items import LogProb, McpHttpError, McpListedTool, McpProtocolError, McpToolExecutionError
from offhook.wire.server_events import TokensUsage, Usage


class ClientSent(msgspec.Struct, frozen=True):
    """A client event arrived; ``origin`` is the number of the socket, which alone hears of its errors."""

    event: ClientEvent
    origin: int = 0


class ClientErred(msgspec.Struct, frozen=True):
    """A message that is no client event arrived, and this is what was wrong with it."""

    code: str | None
    message: str
    param: str | None
    event_id: str | None
    origin: int = 0


# -- from the telephone; positions are milliseconds of input audio since the session began


class VoiceStarted(msgspec.Struct, frozen=True):
    """The caller began to speak at ``at_ms``."""

    at_ms: int


class VoicePaused(msgspec.Struct, frozen=True):
    """The caller's turn may be over: silent since ``end_ms``, and still at ``decided_ms``."""

    end_ms: int
    decided_ms: int


class VoiceResumed(msgspec.Struct, frozen=True):
    """The caller, who had paused, speaks on."""


class VoiceStopped(msgspec.Struct, frozen=True):
    """The caller's turn is over; the last speech was at ``end_ms``, the decision fell at ``decided_ms``."""

    end_ms: int
    decided_ms: int


class DigitPressed(msgspec.Struct, frozen=True):
    """The caller pressed a key."""

    digit: str
    received_at_s: int


class PlayoutStarted(msgspec.Struct, frozen=True):
    """The first sample of a run went out."""

    run: int


class PlayoutAdvanced(msgspec.Struct, frozen=True):
    """This much of a run went out so far."""

    run: int
    played_ms: int


class PlayoutFinished(msgspec.Struct, frozen=True):
    """The last sample of a run went out."""

    run: int
    played_ms: int


class PlayoutStopped(msgspec.Struct, frozen=True):
    """A run was stopped on command after this much of it had really gone out."""

    run: int
    played_ms: int


class FillerSpoken(msgspec.Struct, frozen=True):
    """The sentence of a filler was made: its pieces, each with the milliseconds that it takes."""

    number: int
    pieces: tuple[tuple[str, float], ...]


class FillerSound(msgspec.Struct, frozen=True):
    """A piece of a sentence: 16-bit mono samples."""

    pcm: bytes
    rate_hz: int
    duration_ms: float


class FillerMade(msgspec.Struct, frozen=True):
    """The sentence of a filler was made where the client plays it."""

    number: int
    sounds: tuple[FillerSound, ...]


class FillerEnded(msgspec.Struct, frozen=True):
    """A filler is over, after this much of it had gone out; that may be nothing."""

    number: int
    played_ms: int


# -- from the model; ``run`` is the number that ``Generate`` gave


class TextProduced(msgspec.Struct, frozen=True):
    """The model says (or writes) some words."""

    run: int
    text: str


class MessageEnded(msgspec.Struct, frozen=True):
    """The model is done with a message; what it says next in this run is another one."""

    run: int


class AudioProduced(msgspec.Struct, frozen=True):
    """The model's voice: 16-bit mono samples; ``text`` is what this piece says, when known.

    ``duration_ms`` is exact to the sample for the rates in use (8, 16, 24 kHz), so it is a float. ``message`` is the
    number, from 0, of the message of this run that it says; None is the last one. Sound comes in the order of the
    messages, and may come after a message was followed by a function call.
    """

    run: int
    pcm: bytes
    rate_hz: int
    duration_ms: float
    text: str = ""
    message: int | None = None


class ToolCallStarted(msgspec.Struct, frozen=True):
    """The model begins to call a function. ``index`` tells parallel calls apart."""

    run: int
    index: int
    name: str
    call_id: str | None = None


class ToolArgumentsProduced(msgspec.Struct, frozen=True):
    """A part of the arguments of a call."""

    run: int
    index: int
    delta: str


class WordsFinished(msgspec.Struct, frozen=True):
    """All words and function calls of a run are there; only their sound may still come.

    A backend whose voice is slower than its words says so, and the function calls do not wait for the voice.
    """

    run: int


class GenerationFinished(msgspec.Struct, frozen=True):
    """The model has said all it wants to say."""

    run: int
    reason: Literal["stop", "max_output_tokens", "content_filter"] = "stop"
    usage: Usage | None = None


class GenerationFailed(msgspec.Struct, frozen=True):
    """The model failed; the conversation goes on."""

    run: int
    code: str
    message: str
    kind: str = "server_error"


class ModelComplained(msgspec.Struct, frozen=True):
    """The model refused something that belongs to no response, such as an update; everything goes on."""

    code: str | None
    message: str
    kind: str = "server_error"


# -- from speech to text


class PauseHeard(msgspec.Struct, frozen=True):
    """What was said of a turn before its pause, for ``HearEarly`` that wanted to be told.

    ``text`` is None when it will not be known before the turn has ended. ``sure`` is how probable its last word and the
    mark behind it are, ``over`` how probable it is that the turn is over by its sound; None where nobody can tell.
    """

    item_id: str
    text: str | None
    language: str = ""
    sure: float | None = None
    over: float | None = None


class HeardSoFar(msgspec.Struct, frozen=True):
    """What was said so far of a turn that goes on, for ``HearSoFar``; None when nobody had the time to listen."""

    item_id: str
    text: str | None


class TranscriptGrew(msgspec.Struct, frozen=True):
    """Some more words of what the caller said."""

    item_id: str
    delta: str
    logprobs: tuple[LogProb, ...] = ()


class SegmentHeard(msgspec.Struct, frozen=True):
    """One speaker said this; times are seconds from the beginning of the item's audio."""

    item_id: str
    text: str
    speaker: str
    start_s: float
    end_s: float


class TranscriptCompleted(msgspec.Struct, frozen=True):
    """All that the caller said in an item, and how long the audio was.

    ``language`` is empty where it was not found out; ``usage`` is what the recogniser counted, if it counts tokens.
    """

    item_id: str
    text: str
    seconds: float
    logprobs: tuple[LogProb, ...] = ()
    language: str = ""
    usage: TokensUsage | None = None


class TranscriptFailed(msgspec.Struct, frozen=True):
    """There will be no transcript of an item."""

    item_id: str
    code: str
    message: str


# -- from MCP servers; ``item_id`` is the one that the command gave


McpError = McpProtocolError | McpToolExecutionError | McpHttpError


class McpToolsListed(msgspec.Struct, frozen=True):
    """An MCP server has these tools."""

    item_id: str
    tools: tuple[McpListedTool, ...]


class McpListFailed(msgspec.Struct, frozen=True):
    """An MCP server could not be asked for its tools."""

    item_id: str
    message: str


class McpCallFinished(msgspec.Struct, frozen=True):
    """A tool of an MCP server has run, or failed (``error``)."""

    item_id: str
    output: str | None = None
    error: McpError | None = None


class DeadlinePassed(msgspec.Struct, frozen=True):
    """The time that ``next_deadline`` named has come."""


Input = (
    ClientSent
    | ClientErred
    | VoiceStarted
    | VoicePaused
    | VoiceResumed
    | VoiceStopped
    | DigitPressed
    | PlayoutStarted
    | PlayoutAdvanced
    | PlayoutFinished
    | PlayoutStopped
    | FillerSpoken
    | FillerMade
    | FillerEnded
    | TextProduced
    | MessageEnded
    | AudioProduced
    | ToolCallStarted
    | ToolArgumentsProduced
    | WordsFinished
    | GenerationFinished
    | GenerationFailed
    | ModelComplained
    | PauseHeard
    | HeardSoFar
    | TranscriptGrew
    | SegmentHeard
    | TranscriptCompleted
    | TranscriptFailed
    | McpToolsListed
    | McpListFailed
    | McpCallFinished
    | DeadlinePassed
)
