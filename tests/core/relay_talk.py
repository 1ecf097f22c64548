"""A conversation whose model is upstream: the real engine and the real relay, with a test's hand as the upstream."""

from __future__ import annotations

import base64
import itertools
import json
from collections import deque
from typing import Any

from tests.core.talk import Talk
from tests.oracle import schema_errors, schema_names

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.input_audio import linear
from offhook.session.relay import steps
from offhook.session.relay.dialect import DialectName, TurnFinder, dialect_of
from offhook.session.relay.machine import Relay, RelayOptions
from offhook.session.relay.reserve import ReserveKind
from offhook.wire.ids import Ids

PATIENCE_S = 20.0
TRANSCRIBED = {"input": {"transcription": {"model": "whisper-1"}}}


def assert_client_event(event: dict[str, Any]) -> dict[str, Any]:
    """Fail unless the public schema takes what is sent to the hosted service."""
    errors = schema_errors(schema_names("RealtimeClientEvent")[event["type"]], event)
    assert not errors, (event, errors)
    return event


class RelayTalk(Talk):
    """Every event for the clients is judged as always; what goes to the hosted service is judged by its schema."""

    dialect: DialectName = "openai"
    url = "wss://there.example"
    turns: TurnFinder = "here"
    reserve: ReserveKind = "none"

    def __init__(self, *, is_online: bool = True, **session: Any) -> None:
        self.upstream: list[dict[str, Any]] = []
        self.connects: list[str] = []
        self.warnings: list[str] = []
        self.disconnected: list[str] = []
        self.finds_here = True
        self.handed_over: list[steps.HandOver] = []
        self.heard_instead: list[steps.Unheard] = []
        self.used: list[steps.NoteUsage] = []
        self._relay: Relay | None = None
        self._relay_inbox: deque[steps.Input] = deque()
        self._relay_works = False
        self._engine_inbox: deque[happened.Input] = deque()
        self._engine_works = False
        self._ids = itertools.count(1)
        super().__init__(**session)
        assert self.relay.next_deadline() is None, "it connects, and nothing else is due"
        if is_online:
            self.connect()

    # -- both machines, as the host drives them

    @property
    def relay(self) -> Relay:
        if self._relay is None:
            numbers = itertools.count(1)
            ids = Ids(lambda size: f"u{next(numbers):0{size - 1}d}")
            options = RelayOptions(dialect_of(self.dialect, self.url), "there", PATIENCE_S, self.turns, self.reserve)
            self._relay = Relay(options, self.engine.session, ids, self.now)
            self._do(self._relay.start())
        return self._relay

    def _take(self, outputs: list[do.Output]) -> list[dict[str, Any]]:
        events = []
        for output in outputs:
            events += super()._take([output])
            match output:
                case do.Send(event=event):
                    self._relay_takes(steps.Told(event))
                case do.Generate():
                    self._relay_takes(steps.Requested(output))
                case do.CancelGeneration(run=run):
                    self._relay_takes(steps.Cancelled(run))
                case do.Hear(item_id=item_id, start_ms=start, end_ms=end, transcription=wanted):
                    pcm = bytes((end - start) * 16)
                    self._relay_takes(steps.TurnSpoken(item_id, start, end, pcm, 8000, wanted is not None))
                case do.HearGiven(item_id=item_id, audio=audio, format=audio_format, transcription=wanted):
                    pcm, rate_hz = linear(audio, audio_format)
                    self._relay_takes(steps.AudioGiven(item_id, pcm, rate_hz, wanted is not None))
                case _:
                    pass
        return events

    def happens(self, event: happened.Input, *, after_s: float = 0.0) -> list[dict[str, Any]]:
        self.now += after_s
        self._engine_inbox.append(event)
        if self._engine_works:
            return []
        events = []
        self._engine_works = True
        while self._engine_inbox:
            events += self._take(self.engine.handle(self._engine_inbox.popleft(), self.now))
        self._engine_works = False
        return events

    def _relay_takes(self, event: steps.Input) -> None:
        self._relay_inbox.append(event)
        if self._relay_works:
            return
        self._relay_works = True
        while self._relay_inbox:
            self._do(self.relay.handle(self._relay_inbox.popleft(), self.now))
        self._relay_works = False

    def _do(self, outputs: list[steps.Output]) -> None:
        for output in outputs:
            match output:
                case steps.SendUpstream(text=text):
                    event = json.loads(text)
                    self.upstream.append(assert_client_event(event) if self.dialect == "openai" else event)
                case steps.Tell(event=told):
                    self.happens(told)
                case steps.Connect(model=model):
                    self.connects.append(model)
                case steps.ReadInput(start_ms=start, end_ms=end):
                    pcm = bytes(max(min(end, self.input_ms) - start, 0) * 16)
                    self._relay_takes(steps.SpokenSoFar(start, pcm, 8000))
                case steps.HandOver():
                    self.handed_over.append(output)
                case steps.HearInstead(turn=turn):
                    self.heard_instead.append(turn)
                case steps.FindTurns(here=here):
                    self.finds_here = here
                    if not here:
                        self._relay_takes(steps.InputStands(self.input_ms))
                case steps.Disconnect(why=why):
                    self.disconnected.append(why)
                case steps.NoteUsage():
                    self.used.append(output)
                case steps.Warn(what=what, why=why):
                    self.warnings.append(f"{what}: {why}")

    def waits(self, seconds: float) -> list[dict[str, Any]]:
        """Let time pass, with the deadlines of both."""
        end = self.now + seconds
        count = len(self.sent)
        while True:
            due = [
                (deadline, who) for who in (self.engine, self.relay) if (deadline := who.next_deadline()) is not None
            ]
            deadline, who = min(due, key=lambda each: each[0], default=(end + 1, self.engine))
            if deadline > end:
                break
            self.now = max(deadline, self.now)
            if who is self.engine:
                self.happens(happened.DeadlinePassed())
            else:
                self._relay_takes(steps.DeadlinePassed())
        self.now = end
        return self.sent[count:]

    def says(self, ms: int = 1000) -> list[dict[str, Any]]:
        """The caller speaks for so long and is silent for half a second; time passes as it does."""
        start, count = self.input_ms, len(self.sent)
        self.happens(happened.VoiceStarted(start))
        self.waits((ms + 500) / 1000)
        self.happens(happened.VoiceStopped(start + ms, start + ms + 500))
        return self.sent[count:]

    def hangs_up(self) -> None:
        """The conversation ends."""
        self._take(self.engine.close(self.now))
        self._do(self.relay.close())

    # -- the upstream

    def connect(self) -> None:
        self._relay_takes(steps.Connected(self.engine.session))
        self.says_upstream("session.created", session={"id": "sess_there", "object": "realtime.session"})

    def lose(self, why: str = "closed with 1006", *, is_refused: bool = False) -> list[dict[str, Any]]:
        count = len(self.sent)
        self._relay_takes(steps.ConnectionLost(why, is_refused))
        return self.sent[count:]

    def says_upstream(self, type_: str, **members: Any) -> list[dict[str, Any]]:
        """Let upstream send an event; return what the clients were told."""
        event = {"type": type_, "event_id": f"event_there_{next(self._ids)}", **members}
        return self.says_raw(json.dumps(event))

    def says_raw(self, text: str | bytes) -> list[dict[str, Any]]:
        count = len(self.sent)
        self._relay_takes(steps.UpstreamSent(text))
        return self.sent[count:]

    def asked(self, type_: str) -> list[dict[str, Any]]:
        """What upstream was sent of a type."""
        return [event for event in self.upstream if event["type"] == type_]

    def sent_types(self) -> list[str]:
        """What upstream was sent, audio pieces in a row as one."""
        kinds = [event["type"] for event in self.upstream]
        return [kind for kind, _ in itertools.groupby(kinds)]

    def audio_sent(self) -> bytes:
        return b"".join(base64.b64decode(event["audio"]) for event in self.asked("input_audio_buffer.append"))

    # -- an answer, in the order of live traffic

    def begins(self, response_id: str = "resp_there_1", item_id: str = "item_there_1") -> list[dict[str, Any]]:
        count = len(self.sent)
        self.says_upstream("response.created", response={"id": response_id, "status": "in_progress"})
        item = {"id": item_id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        self.says_upstream("response.output_item.added", response_id=response_id, output_index=0, item=item)
        self.says_upstream("conversation.item.added", item=item)
        return self.sent[count:]

    def speaks(
        self, words: str, ms: int, response_id: str = "resp_there_1", item_id: str = "item_there_1"
    ) -> list[dict[str, Any]]:
        count = len(self.sent)
        where = {"response_id": response_id, "item_id": item_id, "output_index": 0, "content_index": 0}
        self.says_upstream("response.output_audio_transcript.delta", delta=words, **where)
        delta = base64.b64encode(bytes([255]) * (ms * 8)).decode()
        self.says_upstream("response.output_audio.delta", delta=delta, **where)
        return self.sent[count:]

    def ends(
        self, status: str = "completed", response_id: str = "resp_there_1", **members: Any
    ) -> list[dict[str, Any]]:
        usage = {"total_tokens": 30, "input_tokens": 10, "output_tokens": 20}
        response = {"id": response_id, "status": status, "usage": usage, **members}
        return self.says_upstream("response.done", response=response)

    def answers_upstream(
        self, words: str = "We open at nine.", ms: int = 2000, number: int = 1
    ) -> list[dict[str, Any]]:
        """Speak a whole answer."""
        count = len(self.sent)
        ids = {"response_id": f"resp_there_{number}", "item_id": f"item_there_{number}"}
        self.begins(**ids)
        self.speaks(words, ms, **ids)
        self.ends(response_id=ids["response_id"])
        return self.sent[count:]

    @property
    def run(self) -> int:
        return self.generate().run
