"""The events that a server sends, by noun. Source: API reference, "Server events".

``conversation.created``, ``conversation.item.created`` and ``transcription_session.updated`` are in the schema but
not sent to sessions of the GA shape, so there is no type for them here.
"""

from __future__ import annotations

from typing import Any

import msgspec

from offhook.wire.server_events.common import ServerEventBase
from offhook.wire.server_events.conversation import (
    ConversationItemAdded,
    ConversationItemDeleted,
    ConversationItemDone,
    ConversationItemRetrieved,
    ConversationItemTruncated,
)
from offhook.wire.server_events.hearing import (
    DtmfReceived,
    DurationUsage,
    InputCleared,
    InputCommitted,
    InputTimeoutTriggered,
    SpeechStarted,
    SpeechStopped,
    SpokenLanguage,
    TokensUsage,
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionFailed,
    TranscriptionFailure,
    TranscriptionSegment,
)
from offhook.wire.server_events.mcp import (
    McpCallArgumentsDelta,
    McpCallArgumentsDone,
    McpCallCompleted,
    McpCallFailed,
    McpCallInProgress,
    McpListToolsCompleted,
    McpListToolsFailed,
    McpListToolsInProgress,
)
from offhook.wire.server_events.playing import OutputBufferCleared, OutputBufferStarted, OutputBufferStopped
from offhook.wire.server_events.responding import (
    AudioPart,
    ContentPartAdded,
    ContentPartDone,
    FunctionArgumentsDelta,
    FunctionArgumentsDone,
    OutputAudioDelta,
    OutputAudioDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    OutputTranscriptDelta,
    OutputTranscriptDone,
    ResponseCreated,
    ResponseDone,
    SentAudioDelta,
    TextPart,
)
from offhook.wire.server_events.response import (
    CachedTokens,
    InputTokens,
    OutputTokens,
    Response,
    ResponseAudioEcho,
    ResponseAudioOutputEcho,
    ResponseError,
    ResponseStatus,
    StatusDetails,
    Usage,
)
from offhook.wire.server_events.session import (
    ErrorDetails,
    ErrorEvent,
    RateLimit,
    RateLimitsUpdated,
    SessionCreated,
    SessionUpdated,
)

__all__ = [
    "AudioPart",
    "CachedTokens",
    "ContentPartAdded",
    "ContentPartDone",
    "ConversationItemAdded",
    "ConversationItemDeleted",
    "ConversationItemDone",
    "ConversationItemRetrieved",
    "ConversationItemTruncated",
    "DtmfReceived",
    "DurationUsage",
    "ErrorDetails",
    "ErrorEvent",
    "FunctionArgumentsDelta",
    "FunctionArgumentsDone",
    "InputCleared",
    "InputCommitted",
    "InputTimeoutTriggered",
    "InputTokens",
    "McpCallArgumentsDelta",
    "McpCallArgumentsDone",
    "McpCallCompleted",
    "McpCallFailed",
    "McpCallInProgress",
    "McpListToolsCompleted",
    "McpListToolsFailed",
    "McpListToolsInProgress",
    "OutputAudioDelta",
    "OutputAudioDone",
    "OutputBufferCleared",
    "OutputBufferStarted",
    "OutputBufferStopped",
    "OutputItemAdded",
    "OutputItemDone",
    "OutputTextDelta",
    "OutputTextDone",
    "OutputTokens",
    "OutputTranscriptDelta",
    "OutputTranscriptDone",
    "RateLimit",
    "RateLimitsUpdated",
    "Response",
    "ResponseAudioEcho",
    "ResponseAudioOutputEcho",
    "ResponseCreated",
    "ResponseDone",
    "ResponseError",
    "ResponseStatus",
    "SentAudioDelta",
    "ServerEvent",
    "ServerEventBase",
    "SessionCreated",
    "SessionUpdated",
    "SpeechStarted",
    "SpeechStopped",
    "SpokenLanguage",
    "StatusDetails",
    "TextPart",
    "TokensUsage",
    "TranscriptionCompleted",
    "TranscriptionDelta",
    "TranscriptionFailed",
    "TranscriptionFailure",
    "TranscriptionSegment",
    "Usage",
    "encode_event",
]

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
    | TranscriptionSegment
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
