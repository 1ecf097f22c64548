"""A conversation without a telephone and without a model: the real engine, with a test's hand on both sides of it."""

from __future__ import annotations

import itertools
import json
from typing import Any, TypeVar

from tests.oracle import assert_server_event

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.engine import Engine, EngineOptions
from offhook.session.settings import SessionDefaults, start_session
from offhook.wire.decode import decode_client_event, decode_session, event_id_of
from offhook.wire.ids import Ids
from offhook.wire.server_events import encode_event
from offhook.wire.session import PcmuFormat

T = TypeVar("T")


def counting_ids() -> Ids:
    numbers = itertools.count(1)
    return Ids(lambda size: f"{next(numbers):0{size}d}")


class Talk:
    """Every event that the engine sends is judged by the schema and by the SDK before a test sees it."""

    def __init__(self, *, options: EngineOptions | None = None, **session: Any) -> None:
        self.now = 100.0
        params = decode_session(json.dumps({"type": "realtime", **session}).encode())
        effective = start_session(
            params,
            session_id="sess_1",
            audio_format=PcmuFormat(),
            expires_at=0,
            defaults=SessionDefaults(),
        )
        options = options or EngineOptions(needs_transcripts=False)
        self.engine = Engine(
            effective, counting_ids(), options, self.now, model_named="model" in session, own=params.offhook
        )
        self.sent: list[dict[str, Any]] = []
        self.done: list[do.Output] = []
        self._take(self.engine.start())

    @property
    def input_ms(self) -> int:
        """Milliseconds of the caller's audio so far."""
        return round((self.now - 100.0) * 1000)

    def _take(self, outputs: list[do.Output]) -> list[dict[str, Any]]:
        events = []
        for output in outputs:
            if isinstance(output, do.Send):
                events.append(assert_server_event(encode_event(output.event)))
            else:
                self.done.append(output)
        self.sent += events
        return events

    def happens(self, event: happened.Input, *, after_s: float = 0.0) -> list[dict[str, Any]]:
        """Let something happen; return the events it caused."""
        self.now += after_s
        return self._take(self.engine.handle(event, self.now))

    def client(self, type_: str, **members: Any) -> list[dict[str, Any]]:
        """Send a client event the way a socket does."""
        text = json.dumps({"type": type_, **members})
        try:
            event = decode_client_event(text)
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


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def one(events: list[dict[str, Any]], type_: str) -> dict[str, Any]:
    found = [event for event in events if event["type"] == type_]
    assert len(found) == 1, (type_, types(events))
    return found[0]
