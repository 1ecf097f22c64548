"""Events about the caller's audio: the input buffer, the keypad, and transcripts."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from offhook.wire.items import LogProb
from offhook.wire.server_events.common import ServerEventBase, Tagged


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


class TranscriptionSegment(
    ServerEventBase,
    frozen=True,
    kw_only=True,
    tag_field="type",
    tag="conversation.item.input_audio_transcription.segment",
):
    """What one speaker said in the caller's audio; ``start`` and ``end`` are seconds from its beginning."""

    item_id: str
    content_index: int
    id: str
    text: str
    speaker: str
    start: float
    end: float


class DurationUsage(Tagged, frozen=True, kw_only=True, tag_field="type", tag="duration"):
    """Transcription billed by time."""

    seconds: float


class TokensUsage(Tagged, frozen=True, kw_only=True, tag_field="type", tag="tokens"):
    """Transcription billed by tokens."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: dict[str, int] | UnsetType = UNSET


class SpokenLanguage(Struct, frozen=True, kw_only=True):
    """A language that was found in the caller's audio, ISO-639-1."""

    code: str


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
    languages: tuple[SpokenLanguage, ...] | UnsetType = UNSET
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
