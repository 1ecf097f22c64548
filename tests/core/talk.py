"""A conversation without a telephone and without a model: the real engine, with a test's hand on both sides of it."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from tests.matrix import SEEN
from tests.oracle import assert_server_event
from tests.promises import Judge

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.door import Door, TelephoneDoor
from offhook.session.engine import Engine
from offhook.session.listening import bytes_per_ms
from offhook.session.options import EngineOptions
from offhook.session.settings import SessionDefaults, start_session
from offhook.session.socket import SocketDoor, TranscriptionDoor
from offhook.wire.decode import decode_client_event, decode_session, decode_transcription_event, event_id_of
from offhook.wire.ids import Ids
from offhook.wire.items import Message
from offhook.wire.server_events import encode_event
from offhook.wire.session import PcmFormat, PcmuFormat, SessionParams
from offhook.wire.transcription import TranscriptionParams, as_start

T = TypeVar("T")

# The events of a spoken item, and of the end of a response, in the order of live traffic.
SPOKEN_ITEM = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
]
SPOKEN_ITEM_END = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
]
RESPONSE_END = ["response.done", "rate_limits.updated"]


def counting_ids() -> Ids:
    numbers = itertools.count(1)
    return Ids(lambda size: f"{next(numbers):0{size}d}")


class Talk:
    """Every event that the engine sends is judged by the schema and by the SDK before a test sees it."""

    door: Callable[[Engine], Door] = TelephoneDoor
    door_name = "call"
    decode = staticmethod(decode_client_event)

    def __init__(
        self,
        *,
        options: EngineOptions | None = None,
        session_id: str = "sess_1",
        expires_at: int = 0,
        **session: Any,
    ) -> None:
        self.now = 100.0
        params = self.params(session)
        effective = start_session(
            params,
            session_id=session_id,
            audio_format=PcmuFormat() if self.door is TelephoneDoor else PcmFormat(),
            expires_at=expires_at,
            defaults=SessionDefaults(),
            formats_given=self.door is not TelephoneDoor,
        )
        options = options or EngineOptions(needs_transcripts=False)
        self.engine = Engine(
            effective,
            counting_ids(),
            options,
            self.now,
            model_named="model" in session,
            own=params.offhook,
            door=self.door,
        )
        self.sent: list[dict[str, Any]] = []
        self.done: list[do.Output] = []
        self._take(self.engine.start())

    def params(self, session: dict[str, Any]) -> SessionParams:
        """The session that a client asks for."""
        return decode_session(json.dumps({"type": "realtime", **session}).encode())

    @property
    def input_ms(self) -> int:
        """Milliseconds of the caller's audio so far."""
        return round((self.now - 100.0) * 1000)

    def _take(self, outputs: list[do.Output]) -> list[dict[str, Any]]:
        events = []
        for output in outputs:
            if not isinstance(output, do.Send):
                self.done.append(output)
            if isinstance(output, do.Send | do.SendWithAudio):
                event = output.event if isinstance(output, do.Send) else output.event(self.kept(output))
                events.append(assert_server_event(encode_event(event)))
                SEEN.server_event(self.door_name, events[-1])
        self.sent += events
        return events

    def kept(self, wanted: do.SendWithAudio) -> bytes:
        """The input audio that the driver keeps: of every millisecond eight samples, which say when it was."""
        return b"".join((at_ms % 251).to_bytes() * 8 for at_ms in range(wanted.start_ms, wanted.end_ms))

    def happens(self, event: happened.Input, *, after_s: float = 0.0) -> list[dict[str, Any]]:
        """Let something happen; return the events it caused."""
        self.now += after_s
        return self._take(self.engine.handle(event, self.now))

    def client(self, type_: str, **members: Any) -> list[dict[str, Any]]:
        """Send a client event the way a socket does."""
        text = json.dumps({"type": type_, **members})
        SEEN.client_event(self.door_name, {"type": type_, **members})
        try:
            event = self.decode(text)
        except ApiProblem as problem:
            return self.happens(happened.ClientErred(problem.code, problem.message, problem.param, event_id_of(text)))
        return self.happens(happened.ClientSent(event))

    def waits(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass, with the engine's deadlines."""
        end = self.now + seconds
        events = []
        while (deadline := self.engine.next_deadline()) is not None and deadline <= end:
            self.now = max(deadline, self.now)
            events += self.happens(happened.DeadlinePassed())
        self.now = end
        return events

    def says(self, ms: int = 1000) -> list[dict[str, Any]]:
        """The caller speaks for so long and is silent for half a second."""
        start = self.input_ms
        events = self.happens(happened.VoiceStarted(start))
        self.now += (ms + 500) / 1000
        return events + self.happens(happened.VoiceStopped(start + ms, start + ms + 500))

    def answers(self, text: str = "We open at nine.", ms: int = 2000) -> list[dict[str, Any]]:
        """The model speaks and finishes; nothing has been played yet."""
        run = self.generate().run
        events = self.happens(happened.TextProduced(run, text))
        events += self.audio(run, ms, text)
        return events + self.happens(happened.GenerationFinished(run))

    def audio(self, run: int, ms: int, text: str = "") -> list[dict[str, Any]]:
        return self.happens(happened.AudioProduced(run, bytes(ms * 48), 24000, ms, text))

    def generate(self) -> do.Generate:
        """The last request to the model."""
        return self.last(do.Generate)

    def last(self, kind: type[T]) -> T:
        return next(each for each in reversed(self.done) if isinstance(each, kind))

    def count(self, kind: type) -> int:
        return sum(isinstance(each, kind) for each in self.done)


class SocketTalk(Talk):
    """The same on a socket of its own."""

    door = SocketDoor
    door_name = "socket"

    @property
    def input_ms(self) -> int:
        """Milliseconds of audio that were appended."""
        return self.engine.input_ms

    def appends(self, ms: int) -> list[dict[str, Any]]:
        """The client appends so much silence, in the format of the session, and as much time passes."""
        self.now += ms / 1000
        size = ms * bytes_per_ms(self.engine.session.audio.input.format)
        return self.client("input_audio_buffer.append", audio=base64.b64encode(bytes(size)).decode())

    def says(self, ms: int = 1000) -> list[dict[str, Any]]:
        """The user speaks for so long and is silent for half a second."""
        start = self.input_ms
        self.appends(ms + 500)
        events = self.happens(happened.VoiceStarted(start))
        return events + self.happens(happened.VoiceStopped(start + ms, start + ms + 500))


class TranscriptionTalk(SocketTalk):
    """The same with nobody who answers."""

    door = TranscriptionDoor
    door_name = "transcription"
    decode = staticmethod(decode_transcription_event)

    def params(self, session: dict[str, Any]) -> SessionParams:
        """The session that a client asks for."""
        return as_start(msgspec.convert({"type": "transcription", **session}, TranscriptionParams))


class Judged(Talk):
    """Every output is judged as it comes."""

    def __init__(self, **members: Any) -> None:
        self.judge = Judge()
        super().__init__(**members)

    def _take(self, outputs: list[do.Output]) -> list[dict[str, Any]]:
        self.judge.take(outputs)
        return super()._take(outputs)

    def ends(self) -> None:
        """The session is over; look back at it."""
        self._take(self.engine.close(self.now))
        self.judge.is_over()


class JudgedOnSocket(Judged, SocketTalk):
    """The same on a socket."""


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def one(events: list[dict[str, Any]], type_: str) -> dict[str, Any]:
    found = [event for event in events if event["type"] == type_]
    assert len(found) == 1, (type_, types(events))
    return found[0]


def function(name: str = "opening_hours") -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}


def error(events: list[dict[str, Any]]) -> dict[str, Any]:
    assert types(events) == ["error"]
    details: dict[str, Any] = events[0]["error"]
    assert set(details) == {"type", "code", "message", "param", "event_id"}
    return details


def said_by_assistant(talk: Talk) -> list[str]:
    """What the conversation remembers of the assistant's speech."""
    items = [item for item in talk.engine.conversation if isinstance(item, Message) and item.role == "assistant"]
    return [part.transcript for item in items for part in item.content]  # type: ignore[union-attr,misc]


def interrupted_talk() -> tuple[Talk, int]:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "one two three four five six seven eight"))
    talk.audio(run, 4000, "one two three four five six seven eight")
    talk.happens(happened.PlayoutStarted(run))
    talk.happens(happened.PlayoutAdvanced(run, 900), after_s=0.9)
    return talk, run
