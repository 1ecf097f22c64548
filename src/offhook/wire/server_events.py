"""The events that a server sends. Source: API reference, "Server events".

``conversation.created``, ``conversation.item.created`` and ``transcription_session.updated`` are in the schema but
not sent to sessions of the GA shape, so there is no type for them here.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from offhook.wire.items import Item, LogProb
from offhook.wire.session import AudioFormat, Modality, Session, Voice, tag_of


class ServerEventBase(Struct, frozen=True, kw_only=True):
    """What all server events have in common."""

    event_id: str

    @property
    def type(self) -> str:
        """The event's name, such as ``"response.done"``."""
        return tag_of(self)


class Tagged(Struct, frozen=True, kw_only=True):
    """A structure that is told apart by its ``type``."""

    @property
    def type(self) -> str:
        """The member ``type``."""
        return tag_of(self)


# -- session


class SessionCreated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.created"):
    """The first event of a session's own socket."""

    session: Session


class SessionUpdated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.updated"):
    """An update was accepted; carries the whole effective session."""

    session: Session


class ErrorDetails(Struct, frozen=True, kw_only=True):
    """What was wrong; ``event_id`` names the client's event."""

    type: str
    message: str
    code: str | None = None
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """Something was refused or failed; the session goes on."""

    error: ErrorDetails


class RateLimit(Struct, frozen=True, kw_only=True):
    """One limit and what is left of it."""

    name: str
    limit: int
    remaining: int
    reset_seconds: float


class RateLimitsUpdated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="rate_limits.updated"):
    """Follows every ``response.done``."""

    rate_limits: tuple[RateLimit, ...]


# -- conversation


class ConversationItemAdded(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.added"
):
    """An item entered the conversation."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemDone(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.done"):
    """An item is final."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemRetrieved(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.retrieved"
):
    """An item with its audio."""

    item: Item


class ConversationItemTruncated(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.truncated"
):
    """The audio of an assistant item was cut."""

    item_id: str
    content_index: int
    audio_end_ms: int


class ConversationItemDeleted(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.deleted"
):
    """An item left the conversation."""

    item_id: str


# -- input


class SpeechStarted(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.speech_started"
):
    """The caller began to speak; milliseconds since the start of input audio, less the prefix padding."""

    audio_start_ms: int
    item_id: str


class SpeechStopped(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.speech_stopped"
):
    """The caller's turn ended."""

    audio_end_ms: int
    item_id: str


class InputCommitted(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.committed"):
    """The input buffer became a user item."""

    item_id: str
    previous_item_id: str | None = None


class InputCleared(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.cleared"):
    """The input buffer was emptied."""


class InputTimeoutTriggered(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.timeout_triggered"
):
    """Nobody spoke for ``idle_timeout_ms`` after the last response was played."""

    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class DtmfReceived(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.dtmf_event_received"
):
    """The caller pressed a key: 0-9, *, #, A-D; ``received_at`` in Unix seconds."""

    event: str
    received_at: int


class TranscriptionDelta(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="conversation.item.input_audio_transcription.delta",
):
    """A part of the transcript of the caller's audio."""

    item_id: str
    content_index: int
    delta: str
    logprobs: tuple[LogProb, ...] | None | UnsetType = UNSET
    obfuscation: str | UnsetType = UNSET


class DurationUsage(Tagged, frozen=True, kw_only=True, tag_field="type", tag="duration"):
    """Transcription billed by time."""

    seconds: float


class TokensUsage(Tagged, frozen=True, kw_only=True, tag_field="type", tag="tokens"):
    """Transcription billed by tokens."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: dict[str, int] | UnsetType = UNSET


class TranscriptionCompleted(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="conversation.item.input_audio_transcription.completed",
):
    """The transcript of the caller's audio."""

    item_id: str
    content_index: int
    transcript: str
    usage: DurationUsage | TokensUsage
    logprobs: tuple[LogProb, ...] | None | UnsetType = UNSET


class TranscriptionFailure(Struct, frozen=True, kw_only=True):
    """Why there is no transcript."""

    type: str
    message: str
    code: str | None = None
    param: str | None = None


class TranscriptionFailed(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="conversation.item.input_audio_transcription.failed",
):
    """There is no transcript of the caller's audio."""

    item_id: str
    content_index: int
    error: TranscriptionFailure


# -- responses


class CachedTokens(Struct, frozen=True, kw_only=True):
    """Input tokens that came from the model's cache."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0


class InputTokens(Struct, frozen=True, kw_only=True):
    """Where the input tokens came from."""

    text_tokens: int = 0
    audio_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    cached_tokens_details: CachedTokens = CachedTokens()


class OutputTokens(Struct, frozen=True, kw_only=True):
    """What the output tokens were."""

    text_tokens: int = 0
    audio_tokens: int = 0


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one response."""

    total_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    input_token_details: InputTokens = InputTokens()
    output_token_details: OutputTokens = OutputTokens()


class ResponseError(Struct, frozen=True, kw_only=True):
    """Why a response failed."""

    type: str
    code: str
    message: str


class StatusDetails(Struct, frozen=True, kw_only=True):
    """How a response ended when it did not complete."""

    type: Literal["cancelled", "incomplete", "failed"]
    reason: Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"] | UnsetType = UNSET
    error: ResponseError | UnsetType = UNSET


class ResponseAudioOutputEcho(Struct, frozen=True, kw_only=True):
    """The voice and format that a response used."""

    format: AudioFormat
    voice: Voice


class ResponseAudioEcho(Struct, frozen=True, kw_only=True):
    """The audio settings that a response used."""

    output: ResponseAudioOutputEcho


ResponseStatus = Literal["in_progress", "completed", "cancelled", "failed", "incomplete"]


class Response(Struct, frozen=True, kw_only=True):
    """A response of the model. ``output`` never contains audio bytes."""

    id: str
    status: ResponseStatus
    output: tuple[Item, ...]
    conversation_id: str | None
    output_modalities: tuple[Modality, ...]
    max_output_tokens: int | Literal["inf"]
    audio: ResponseAudioEcho
    object: Literal["realtime.response"] = "realtime.response"
    status_details: StatusDetails | None = None
    usage: Usage | None = None
    metadata: dict[str, str] | None = None


class ResponseCreated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.created"):
    """A response began."""

    response: Response


class ResponseDone(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.done"):
    """A response ended; the last event of it but for the playing of its audio."""

    response: Response


class OutputItemAdded(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.output_item.added"):
    """A response began an item."""

    response_id: str
    output_index: int
    item: Item


class OutputItemDone(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.output_item.done"):
    """A response finished an item."""

    response_id: str
    output_index: int
    item: Item


class AudioPart(Tagged, frozen=True, kw_only=True, tag_field="type", tag="audio"):
    """A spoken part, as content part events name it."""

    transcript: str


class TextPart(Tagged, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """A written part, as content part events name it."""

    text: str


class PartEvent(ServerEventBase, frozen=True, kw_only=True):
    """The four members that place a part in a response."""

    response_id: str
    item_id: str
    output_index: int
    content_index: int


class ContentPartAdded(PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.content_part.added"):
    """A response began a part."""

    part: AudioPart | TextPart


class ContentPartDone(PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.content_part.done"):
    """A response finished a part."""

    part: AudioPart | TextPart


class OutputAudioDelta(PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.output_audio.delta"):
    """Audio, as base64 in JSON; not on sidebands and data channels."""

    delta: bytes


class OutputAudioDone(PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.output_audio.done"):
    """All audio of a part was produced."""


class OutputTranscriptDelta(
    PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.output_audio_transcript.delta"
):
    """Some words of what is being said."""

    delta: str
    obfuscation: str | UnsetType = UNSET


class OutputTranscriptDone(
    PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.output_audio_transcript.done"
):
    """All words of what is being said."""

    transcript: str


class OutputTextDelta(PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.output_text.delta"):
    """Some words of a written answer."""

    delta: str
    obfuscation: str | UnsetType = UNSET


class OutputTextDone(PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.output_text.done"):
    """All words of a written answer."""

    text: str


class FunctionArgumentsDelta(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.function_call_arguments.delta"
):
    """A part of the arguments of a function call."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str
    obfuscation: str | UnsetType = UNSET


class FunctionArgumentsDone(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.function_call_arguments.done"
):
    """All arguments of a function call."""

    response_id: str
    item_id: str
    output_index: int
    call_id: str
    name: str
    arguments: str


# -- tools of MCP servers


class McpListToolsInProgress(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="mcp_list_tools.in_progress"
):
    """An MCP server is asked for its tools."""

    item_id: str


class McpListToolsCompleted(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="mcp_list_tools.completed"
):
    """An MCP server has said which tools it has."""

    item_id: str


class McpListToolsFailed(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="mcp_list_tools.failed"):
    """An MCP server did not say which tools it has."""

    item_id: str


class McpCallArgumentsDelta(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call_arguments.delta"
):
    """A part of the arguments of a call of an MCP server's tool."""

    response_id: str
    item_id: str
    output_index: int
    delta: str
    obfuscation: str | UnsetType = UNSET


class McpCallArgumentsDone(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call_arguments.done"
):
    """All arguments of a call of an MCP server's tool."""

    response_id: str
    item_id: str
    output_index: int
    arguments: str


class McpCallInProgress(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.in_progress"
):
    """A tool of an MCP server runs."""

    output_index: int
    item_id: str


class McpCallCompleted(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.completed"):
    """A tool of an MCP server has run."""

    output_index: int
    item_id: str


class McpCallFailed(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.failed"):
    """A tool of an MCP server did not run, or not to its end."""

    output_index: int
    item_id: str


# -- playing on a call


class OutputBufferStarted(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="output_audio_buffer.started"
):
    """The first sample of a response was played."""

    response_id: str


class OutputBufferStopped(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="output_audio_buffer.stopped"
):
    """The last sample of a response was played."""

    response_id: str


class OutputBufferCleared(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="output_audio_buffer.cleared"
):
    """What was still to be played was dropped."""

    response_id: str


ServerEvent = (
    SessionCreated
    | SessionUpdated
    | ErrorEvent
    | RateLimitsUpdated
    | ConversationItemAdded
    | ConversationItemDone
    | ConversationItemRetrieved
    | ConversationItemTruncated
    | ConversationItemDeleted
    | SpeechStarted
    | SpeechStopped
    | InputCommitted
    | InputCleared
    | InputTimeoutTriggered
    | DtmfReceived
    | TranscriptionDelta
    | TranscriptionCompleted
    | TranscriptionFailed
    | ResponseCreated
    | ResponseDone
    | OutputItemAdded
    | OutputItemDone
    | ContentPartAdded
    | ContentPartDone
    | OutputAudioDelta
    | OutputAudioDone
    | OutputTranscriptDelta
    | OutputTranscriptDone
    | OutputTextDelta
    | OutputTextDone
    | FunctionArgumentsDelta
    | FunctionArgumentsDone
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
    | McpCallArgumentsDelta
    | McpCallArgumentsDone
    | McpCallInProgress
    | McpCallCompleted
    | McpCallFailed
    | OutputBufferStarted
    | OutputBufferStopped
    | OutputBufferCleared
)

_encoder = msgspec.json.Encoder()


def encode_event(event: Any) -> bytes:
    """Return the event as the JSON text that goes on a socket, in UTF-8."""
    return _encoder.encode(event)
