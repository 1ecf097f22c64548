"""Events about a response that is being made: its items, parts, words, sound and function calls."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from offhook.wire.items import Item
from offhook.wire.server_events.common import ServerEventBase, Tagged
from offhook.wire.server_events.response import Response


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
    """Base64 audio; not on sidebands and data channels."""

    delta: str


class SentAudioDelta(PartEvent, frozen=True, kw_only=True, tag_field="type", tag="response.output_audio.delta"):
    """An `OutputAudioDelta` on its way out: the audio itself, which becomes base64 when the event is encoded."""

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
