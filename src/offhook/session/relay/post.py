"""What is written upstream, and what each of those events was for, so that an error finds whom it concerns."""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from offhook.session.inputs import Input as EngineInput
from offhook.session.relay import limits
from offhook.session.relay.phrase import Members
from offhook.session.relay.steps import Output, SendUpstream, Tell
from offhook.wire.ids import Ids

# An error comes within a few events of its cause.
MAX_REMEMBERED: Final = 256

_APPEND: Final = b'{"type":"input_audio_buffer.append","audio":"%b"}'


class ForRun(msgspec.Struct, frozen=True):
    """It asked for a response."""

    run: int


class ForTurn(msgspec.Struct, frozen=True):
    """It committed a turn."""

    item_id: str


class ForItem(msgspec.Struct, frozen=True):
    """It put an item into the conversation, behind the one that has the id ``before`` there; None is the end."""

    item_id: str
    before: str | None = None


class ForSession(msgspec.Struct, frozen=True):
    """It changed these members of the session."""

    members: Members


class ForNobody(msgspec.Struct, frozen=True):
    """It tidied up: a cancellation or a cut, which may come too late."""


Purpose = ForRun | ForTurn | ForItem | ForSession | ForNobody


class Post:
    """Collects what a step has to do, in order."""

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self._out: list[Output] = []
        self._purposes: dict[str, Purpose] = {}
        self.appended_bytes = 0
        """How much audio this connection was sent."""

    def take_all(self) -> list[Output]:
        """Return what was collected."""
        out, self._out = self._out, []
        return out

    def do(self, output: Output) -> None:
        """Have something done."""
        self._out.append(output)

    def tell(self, events: Iterable[EngineInput]) -> None:
        """Give these to the conversation."""
        self._out.extend(map(Tell, events))

    def append(self, audio: bytes) -> None:
        """Send audio, in pieces that every upstream takes."""
        self.appended_bytes += len(audio)
        for start in range(0, len(audio), limits.MAX_APPEND_BYTES):
            piece = binascii.b2a_base64(audio[start : start + limits.MAX_APPEND_BYTES], newline=False)
            self._out.append(SendUpstream(_APPEND % piece))

    def send(self, kind: str, purpose: Purpose, **members: Any) -> str:
        """Send an event and return its id."""
        event_id = self.ids.event()
        self._purposes[event_id] = purpose
        if len(self._purposes) > MAX_REMEMBERED:
            del self._purposes[next(iter(self._purposes))]
        self._send({"type": kind, "event_id": event_id} | members)
        return event_id

    def _send(self, event: dict[str, Any]) -> None:
        self._out.append(SendUpstream(msgspec.json.encode(event)))

    def purpose(self, event_id: str | None) -> Purpose | None:
        """Return what an event of ours was for; None for one that is not ours, or long ago."""
        return None if event_id is None else self._purposes.pop(event_id, None)

    def forget(self) -> None:
        """The connection is another one."""
        self._purposes.clear()
        self.appended_bytes = 0
