"""What an application has to know of a server's events, and no more: a newer server's additions change nothing here.

Nor do servers that write null for what they do not tell, or anything else of their own: that member is left out.

Source: API reference, "Server events".
"""

from __future__ import annotations

from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct, UnsetType


class OutputItem(Struct, frozen=True):
    """An item of a response: a function call has the last three members."""

    type: str = ""
    name: str = ""
    arguments: str = ""
    call_id: str = ""
    content: list[Any] | None = None


class ResponseFacts(Struct, frozen=True):
    """A response. ``conversation_id`` is None for one that stays out of the conversation."""

    id: str
    status: str = ""
    output: list[OutputItem] = msgspec.field(default_factory=list)
    conversation_id: str | None | UnsetType = UNSET
    metadata: dict[str, Any] | None = None


class ResponseBegan(Struct, frozen=True, tag_field="type", tag="response.created"):
    """A response began."""

    response: ResponseFacts


class ResponseEnded(Struct, frozen=True, tag_field="type", tag="response.done"):
    """A response ended; what it said may still be played."""

    response: ResponseFacts


class PlayingBegan(Struct, frozen=True, tag_field="type", tag="output_audio_buffer.started"):
    """The caller begins to hear a response."""

    response_id: str


class PlayingEnded(Struct, frozen=True, tag_field="type", tag="output_audio_buffer.stopped"):
    """The caller has heard all of a response."""

    response_id: str


class PlayingCut(Struct, frozen=True, tag_field="type", tag="output_audio_buffer.cleared"):
    """The caller will not hear the rest of a response."""

    response_id: str


class CallerBegan(Struct, frozen=True, tag_field="type", tag="input_audio_buffer.speech_started"):
    """The caller speaks."""


class CallerEnded(Struct, frozen=True, tag_field="type", tag="input_audio_buffer.speech_stopped"):
    """The caller's turn is over."""


class Item(Struct, frozen=True):
    """An item of the conversation."""

    id: str = ""
    call_id: str = ""


class ItemAdded(Struct, frozen=True, tag_field="type", tag="conversation.item.added"):
    """An item entered the conversation."""

    item: Item


class TurnFacts(Struct, frozen=True):
    """Turn detection, when it is on."""

    create_response: bool | None = None


class _Input(Struct, frozen=True):
    turn_detection: TurnFacts | None | UnsetType = UNSET


class _Audio(Struct, frozen=True):
    input: _Input = _Input()


class ToolFacts(Struct, frozen=True):
    """A tool; a function has a name."""

    type: str = ""
    name: str | None = None


class _Session(Struct, frozen=True):
    audio: _Audio = _Audio()
    tools: list[ToolFacts] | UnsetType = UNSET


class SessionChanged(Struct, frozen=True, tag_field="type", tag="session.updated"):
    """The session has other settings now."""

    session: _Session

    @property
    def tools(self) -> list[ToolFacts] | None:
        """The tools that are in force; None when the server does not say so."""
        return None if self.session.tools is UNSET else self.session.tools

    @property
    def takes_turns(self) -> bool | None:
        """Whether the server answers the caller by itself; None when it does not say so."""
        detection = self.session.audio.input.turn_detection
        if detection is UNSET:
            return None
        return detection is not None and detection.create_response is not False


class SessionBegan(SessionChanged, frozen=True, tag="session.created"):
    """The session has these settings."""


class ErrorFacts(Struct, frozen=True):
    """What was refused; ``event_id`` names the client's event."""

    code: str | None = None
    message: str | None = None
    event_id: str | None = None


class Refused(Struct, frozen=True, tag_field="type", tag="error"):
    """The server refused an event."""

    error: ErrorFacts


class Transfer(Struct, frozen=True):
    """What is known of a transfer: ``status`` is a SIP status, ``final`` says that nothing more will come."""

    status: int | None = None
    final: bool = False


class TransferMoved(Struct, frozen=True, tag_field="type", tag="offhook.refer.updated"):
    """Something was heard of a transfer. Offhook only."""

    refer: Transfer


class EndFacts(Struct, frozen=True):
    """How a call ended."""

    result: str = ""
    by: str | None = None
    reason: str = ""
    sip_status: int | None = None


class CallOver(Struct, frozen=True, tag_field="type", tag="offhook.call.ended"):
    """The call is over; its last transcripts may follow. Offhook only."""

    end: EndFacts


Fact = (
    ResponseBegan
    | ResponseEnded
    | PlayingBegan
    | PlayingEnded
    | PlayingCut
    | CallerBegan
    | CallerEnded
    | ItemAdded
    | SessionChanged
    | SessionBegan
    | Refused
    | TransferMoved
    | CallOver
)

_decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
_KINDS: Final[dict[Any, type[Struct]]] = {kind.__struct_config__.tag: kind for kind in get_args(Fact)}


class _Kind(Struct, frozen=True):
    type: str


_kind_decoder = msgspec.json.Decoder(_Kind)


def read_fact(data: bytes) -> Fact | None:
    """Return what an event tells; None for one that tells nothing of these, or cannot be read."""
    try:
        try:
            return _decoder.decode(data)
        except msgspec.ValidationError:
            kind = _KINDS.get(_kind_decoder.decode(data).type)
            return None if kind is None else _mended(kind, msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _mended(kind: Any, value: Any) -> Any:
    """Return a value as what it should be, without the members that are not. Raises ValidationError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        for each in get_args(kind) if get_origin(kind) in {UnionType, Union} else (kind,):
            if get_origin(each) is list and isinstance(value, list):
                return _mended_list(get_args(each)[0], value)
            if isinstance(each, type) and issubclass(each, Struct) and isinstance(value, dict):
                return _mended_struct(each, value)
        raise


def _mended_list(kind: Any, values: list[Any]) -> list[Any]:
    mended = []
    for value in values:
        try:
            mended.append(_mended(kind, value))
        except msgspec.ValidationError:
            continue
    return mended


def _mended_struct(kind: type[Struct], values: dict[str, Any]) -> Struct:
    members = {}
    for field in msgspec.structs.fields(kind):
        try:
            if field.required or field.encode_name in values:
                members[field.name] = _mended(field.type, values.get(field.encode_name))
        except msgspec.ValidationError:
            if field.required:
                raise
    return kind(**members)
