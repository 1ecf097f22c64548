"""The eleven events that a client sends. Source: API reference, "Client events"."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from offhook.wire import limits
from offhook.wire.items import InputItem, Item, ItemId
from offhook.wire.own import OwnResponse
from offhook.wire.session import (
    AudioFormat,
    MaxOutputTokens,
    Modalities,
    Prompt,
    Reasoning,
    SessionParams,
    Text,
    ToolChoice,
    Tools,
    Voice,
    Wire,
)

EventId = Annotated[str, Meta(max_length=limits.MAX_EVENT_ID_CHARS)]
MetadataKey = Annotated[str, Meta(max_length=limits.MAX_METADATA_KEY_CHARS)]
MetadataValue = Annotated[str, Meta(max_length=limits.MAX_METADATA_VALUE_CHARS)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=limits.MAX_METADATA_PAIRS)]


class ClientEventBase(Wire, frozen=True, kw_only=True):
    """What all client events have in common."""

    event_id: EventId | None | UnsetType = UNSET


class SessionUpdate(ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.update"):
    """Change the session; all of it or nothing."""

    session: SessionParams


class InputAudioBufferAppend(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.append"
):
    """Add base64 audio, in the input format, to the input buffer."""

    audio: str


class InputAudioBufferCommit(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.commit"
):
    """Make a user item of the input buffer."""


class InputAudioBufferClear(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="input_audio_buffer.clear"
):
    """Forget the input buffer."""


class OutputAudioBufferClear(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="output_audio_buffer.clear"
):
    """Stop what is being played on a call."""


class ConversationItemCreate(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.create"
):
    """Put an item into the conversation, after ``previous_item_id`` (``root`` is first, absent is last)."""

    item: Item
    previous_item_id: ItemId | None | UnsetType = UNSET


class ConversationItemRetrieve(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.retrieve"
):
    """Ask for an item with its audio."""

    item_id: ItemId


class ConversationItemTruncate(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.truncate"
):
    """Cut the audio of an assistant item at what was heard."""

    item_id: ItemId
    content_index: Annotated[int, Meta(ge=0)]
    audio_end_ms: Annotated[int, Meta(ge=0)]


class ConversationItemDelete(
    ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.delete"
):
    """Take an item out of the conversation."""

    item_id: ItemId


class ResponseAudioOutput(Wire, frozen=True, kw_only=True):
    """Audio settings of one response."""

    format: AudioFormat | UnsetType = UNSET
    """Default: the session's."""
    voice: Voice | UnsetType = UNSET
    """Default: the session's."""


class ResponseAudio(Wire, frozen=True, kw_only=True):
    """Audio settings of one response."""

    output: ResponseAudioOutput | UnsetType = UNSET
    """The agent's side."""


class ResponseParams(Wire, frozen=True, kw_only=True):
    """What one response does differently from its session."""

    audio: ResponseAudio | UnsetType = UNSET
    """Voice and format. Default: the session's."""
    conversation: Literal["auto", "none"] | UnsetType = UNSET
    """``"none"`` answers out of band: nothing of it gets into the conversation. Default: ``"auto"``."""
    input: tuple[InputItem, ...] | UnsetType = UNSET
    """What the model reads in place of the conversation: items, or references to some. Default: the conversation."""
    instructions: Text | UnsetType = UNSET
    """Default: the session's."""
    max_output_tokens: MaxOutputTokens | UnsetType = UNSET
    """1 to 4096, or ``"inf"``. Default: the session's."""
    metadata: Metadata | None | UnsetType = UNSET
    """Comes back in the response: 16 pairs, keys of 64 and values of 512 characters at most. Default: None."""
    offhook: OwnResponse | None | UnsetType = UNSET
    output_modalities: Modalities | UnsetType = UNSET
    """``("audio",)`` or ``("text",)``. Default: the session's."""
    parallel_tool_calls: bool | UnsetType = UNSET
    """Default: the session's."""
    prompt: Prompt | None | UnsetType = UNSET
    """A stored prompt. Default: the session's."""
    reasoning: Reasoning | UnsetType = UNSET
    """Default: the session's."""
    tool_choice: ToolChoice | UnsetType = UNSET
    """Default: the session's."""
    tools: Tools | UnsetType = UNSET
    """Default: the session's."""


class ResponseCreate(ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.create"):
    """Ask the model to respond."""

    response: ResponseParams | UnsetType = UNSET


class ResponseCancel(ClientEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.cancel"):
    """Stop a response that is being generated."""

    response_id: ItemId | UnsetType = UNSET


ClientEvent = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemTruncate
    | ConversationItemDelete
    | ResponseCreate
    | ResponseCancel
)
