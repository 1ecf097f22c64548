"""The events of a socket: typed where this API knows them, and nothing lost where it does not.

Source: API reference, "Client events", "Server events".
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from offhook.client.errors import APIResponseValidationError
from offhook.client.other import Other
from offhook.client.request import present
from offhook.wire.client_events import ClientEvent, ResponseParams
from offhook.wire.items import Item
from offhook.wire.server_events import ServerEvent
from offhook.wire.session import SessionParams
from offhook.wire.transcription import TranscriptionEvent

R_co = TypeVar("R_co", covariant=True)

Event = ServerEvent | TranscriptionEvent | Other
"""What a socket brings. An event of a newer server, or one with members that this client does not know, is an `Other`:
its ``type`` and every member are there all the same."""

_event_decoder: msgspec.json.Decoder[ServerEvent] = msgspec.json.Decoder(ServerEvent)
_decode = _event_decoder.decode
_any_decoder = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


def decode_event(data: bytes | str) -> Event:
    """Return the event of one message. Raises APIResponseValidationError for what is no JSON object with a ``type``."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        return _decode_other(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise APIResponseValidationError("The server sent a message that is not JSON.") from None


def _decode_other(data: bytes | str) -> Event:
    try:
        members: Any = _any_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise APIResponseValidationError("The server sent a message that is not JSON.") from None
    if not isinstance(members, dict) or not isinstance(members.get("type"), str):
        raise APIResponseValidationError("The server sent a message without a type.")
    # The schema has events without an id: keys that a caller pressed (contract d). Sockets that only transcribe share
    # the names of two events with the others.
    given = {"event_id": "", **members}
    for wanted in (ServerEvent, TranscriptionEvent):
        with suppress(msgspec.ValidationError):
            event: Event = msgspec.convert(given, wanted)
            return event
    return Other(members)


def encode_client_event(event: ClientEvent | Mapping[str, Any]) -> str:
    """Return the text of an event. Raises TypeError for what JSON cannot hold."""
    if isinstance(event, dict):
        event = present(event)
    return _encode(event).decode()


class _Group(Generic[R_co]):
    """Events that begin alike. ``send`` takes one and returns what the connection's ``send`` returns."""

    def __init__(self, send: Any) -> None:
        self._send = send


class SessionEvents(_Group[R_co]):
    """``session.*``."""

    def update(self, *, session: SessionParams | Mapping[str, Any], event_id: str | UnsetType = UNSET) -> R_co:
        """Change the session, all of it or nothing; ``session.updated`` or ``error`` follows.

        ``session`` needs ``type``; members that are absent stay as they are, None resets where that is allowed.
        ``event_id`` (512 characters at most) comes back in an ``error``.
        """
        return self._send({"type": "session.update", "session": session, "event_id": event_id})  # type: ignore[no-any-return]


class ResponseEvents(_Group[R_co]):
    """``response.*``."""

    def create(
        self, *, event_id: str | UnsetType = UNSET, response: ResponseParams | Mapping[str, Any] | UnsetType = UNSET
    ) -> R_co:
        """Ask the model to respond; ``response`` says what it does differently from the session, this once."""
        return self._send({"type": "response.create", "response": response, "event_id": event_id})  # type: ignore[no-any-return]

    def cancel(self, *, event_id: str | UnsetType = UNSET, response_id: str | UnsetType = UNSET) -> R_co:
        """Stop the response that is being made, or the one named. On a call, what is queued is still played."""
        return self._send({"type": "response.cancel", "response_id": response_id, "event_id": event_id})  # type: ignore[no-any-return]


class InputAudioBufferEvents(_Group[R_co]):
    """``input_audio_buffer.*``."""

    def append(self, *, audio: str, event_id: str | UnsetType = UNSET) -> R_co:
        """Add audio: base64 of the input format, 15 MiB of audio at most. Nothing answers it."""
        return self._send({"type": "input_audio_buffer.append", "audio": audio, "event_id": event_id})  # type: ignore[no-any-return]

    def commit(self, *, event_id: str | UnsetType = UNSET) -> R_co:
        """Make a user item of what is in the buffer: at least 100 ms of audio."""
        return self._send({"type": "input_audio_buffer.commit", "event_id": event_id})  # type: ignore[no-any-return]

    def clear(self, *, event_id: str | UnsetType = UNSET) -> R_co:
        """Forget what is in the buffer."""
        return self._send({"type": "input_audio_buffer.clear", "event_id": event_id})  # type: ignore[no-any-return]


class OutputAudioBufferEvents(_Group[R_co]):
    """``output_audio_buffer.*``; calls only."""

    def clear(self, *, event_id: str | UnsetType = UNSET) -> R_co:
        """Stop what is being played."""
        return self._send({"type": "output_audio_buffer.clear", "event_id": event_id})  # type: ignore[no-any-return]


class ConversationItemEvents(_Group[R_co]):
    """``conversation.item.*``."""

    def create(
        self,
        *,
        item: Item | Mapping[str, Any],
        event_id: str | UnsetType = UNSET,
        previous_item_id: str | UnsetType = UNSET,
    ) -> R_co:
        """Put an item into the conversation, after ``previous_item_id``: ``"root"`` is first, absent is last."""
        event = {"type": "conversation.item.create", "item": item, "previous_item_id": previous_item_id}
        return self._send({**event, "event_id": event_id})  # type: ignore[no-any-return]

    def delete(self, *, item_id: str, event_id: str | UnsetType = UNSET) -> R_co:
        """Take an item out of the conversation."""
        return self._send({"type": "conversation.item.delete", "item_id": item_id, "event_id": event_id})  # type: ignore[no-any-return]

    def retrieve(self, *, item_id: str, event_id: str | UnsetType = UNSET) -> R_co:
        """Ask for an item with its audio; ``conversation.item.retrieved`` brings it."""
        return self._send({"type": "conversation.item.retrieve", "item_id": item_id, "event_id": event_id})  # type: ignore[no-any-return]

    def truncate(
        self, *, audio_end_ms: int, content_index: int, item_id: str, event_id: str | UnsetType = UNSET
    ) -> R_co:
        """Cut an assistant item at what was heard of it, ``audio_end_ms`` after its beginning.

        On a call the server does so by itself when the caller interrupts. ``content_index`` is 0.
        """
        event = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": content_index}
        return self._send({**event, "audio_end_ms": audio_end_ms, "event_id": event_id})  # type: ignore[no-any-return]


class ConversationEvents(Generic[R_co]):
    """``conversation.*``."""

    def __init__(self, send: Any) -> None:
        self.item: ConversationItemEvents[R_co] = ConversationItemEvents(send)


class EventGroups(Generic[R_co]):
    """The client's events by name, as methods of a connection."""

    def __init__(self, send: Any) -> None:
        self.session: SessionEvents[R_co] = SessionEvents(send)
        self.response: ResponseEvents[R_co] = ResponseEvents(send)
        self.input_audio_buffer: InputAudioBufferEvents[R_co] = InputAudioBufferEvents(send)
        self.output_audio_buffer: OutputAudioBufferEvents[R_co] = OutputAudioBufferEvents(send)
        self.conversation: ConversationEvents[R_co] = ConversationEvents(send)
