"""The framing of the Wyoming protocol: a line of JSON, then as many bytes of JSON and of payload as it announces.

``{"type": "...", "data": {...}, "data_length": n, "payload_length": m}`` and a line feed; the JSON that follows is
merged over ``data``. Source: the protocol's description in the package ``wyoming`` (MIT), "Format".
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from offhook.model.interface import ModelError

# A head has a type and some figures; whole transcripts and lists of voices stand behind it.
MAX_HEAD_BYTES: Final = 64 * 1024
# The voices of Piper are described in half a megabyte.
MAX_DATA_BYTES: Final = 8 * 1024 * 1024
# A minute of sound at 48 kHz; servers send tenths of seconds.
MAX_PAYLOAD_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event, either way."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    payload: bytes = b""


class WyomingError(ValueError):
    """What came is no event; the text says why."""


def encode(event: Event) -> bytes:
    """Return an event as it goes over the wire."""
    data = msgspec.json.encode(event.data) if event.data else b""
    head: dict[str, Any] = {"type": event.type}
    if data:
        head["data_length"] = len(data)
    if event.payload:
        head["payload_length"] = len(event.payload)
    return b"".join((msgspec.json.encode(head), b"\n", data, event.payload))


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Return the next event, None at the end of the stream. Raises WyomingError, and OSError of the connection.

    The reader's limit has to be ``MAX_HEAD_BYTES``.
    """
    try:
        line = await reader.readline()
    except ValueError:
        raise WyomingError(f"an event whose head has more than {MAX_HEAD_BYTES} bytes") from None
    if not line:
        return None
    head = _json(line)
    kind, data = head.get("type"), head.get("data")
    if not isinstance(kind, str) or not kind:
        raise WyomingError("an event without a type")
    known: dict[str, Any] = dict(data) if isinstance(data, dict) else {}
    try:
        if size := _size(head, "data_length", MAX_DATA_BYTES):
            known |= _json(await reader.readexactly(size))
        payload = await reader.readexactly(_size(head, "payload_length", MAX_PAYLOAD_BYTES))
    except asyncio.IncompleteReadError:
        raise WyomingError("half an event") from None
    return Event(kind, known, payload)


def _json(text: bytes) -> dict[str, Any]:
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise WyomingError("something that is no event")
    return value


def _size(head: Mapping[str, Any], name: str, most: int) -> int:
    size = head.get(name)
    if size is None:
        return 0
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise WyomingError(f"an event without a {name}")
    if size > most:
        raise WyomingError(f"an event with a {name} of {size} bytes")
    return size


def failed(name: str, broken: WyomingError) -> ModelError:
    """Return what to say about a server that sent what is no event."""
    return ModelError("model_error", f"The {name} sent {broken}.")
