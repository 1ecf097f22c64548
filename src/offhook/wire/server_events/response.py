"""The response object: how it stands, what it used, and how it ended."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from offhook.wire.items import Item
from offhook.wire.session import AudioFormat, Modality


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
    """What the output tokens were; ``reasoning_tokens``, when the backend tells, are among those of text."""

    text_tokens: int = 0
    audio_tokens: int = 0
    reasoning_tokens: int | UnsetType = UNSET


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
    voice: str


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
