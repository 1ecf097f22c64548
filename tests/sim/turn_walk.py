"""A telephone call in which everything that can happen next is tried, breadth first, up to a number of steps.

The surroundings are honest: a voice starts before it stops, the playout tells of what it was given, the model says
something only of what it was asked, though a little late at times. Two orders of inputs that leave the engine in the
same state, but for the numbers in its ids and the time of day, are walked on from once.
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, ClassVar

from msgspec import UNSET
from tests.promises import Judge

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.door import Door, TelephoneDoor
from offhook.session.engine import Engine
from offhook.session.options import EngineOptions
from offhook.session.response import ResponseSettings
from offhook.session.settings import SessionDefaults, start_session
from offhook.session.truncation import ContextWindow
from offhook.session.usage import TokenBudget
from offhook.wire import client_events as asked
from offhook.wire.ids import Ids
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputText, Message
from offhook.wire.session import (
    Audio,
    AudioInput,
    FunctionTool,
    PcmuFormat,
    SemanticVad,
    ServerVad,
    Session,
    SessionParams,
    Transcription,
    TranscriptionEcho,
    TurnDetection,
)

BEGAN = 10_000.0
PIECE_MS = 200
# Two seconds of PCMU.
AUDIO = "//////" * 2666
_ID = re.compile(r"(item|resp|call|conv)_[0-9]")


class Call:
    """The engine, and what its surroundings know; on a socket (``door``), the client is a part of these."""

    def __init__(
        self,
        options: EngineOptions,
        detection: TurnDetection | None,
        door: Callable[[Engine], Door] = TelephoneDoor,
    ) -> None:
        numbers = itertools.count(1)
        params = SessionParams(
            type="realtime",
            audio=Audio(
                input=AudioInput(transcription=Transcription(model="whisper-1"), turn_detection=detection),
            ),
            tools=(FunctionTool(name="f"),),
        )
        session = start_session(
            params, session_id="sess_1", audio_format=PcmuFormat(), expires_at=0, defaults=SessionDefaults()
        )
        self.now = BEGAN
        self.judge = Judge()
        ids = Ids(lambda size: f"{next(numbers):0{size}d}")
        self.engine = Engine(session, ids, options, BEGAN, model_named=False, door=door)
        self.listens = detection is not None
        self.voice: str = "silent"
        self.early: str | None = None
        self.unheard: list[str] = []
        self.said: dict[int, int] = {}
        self.ended: list[int] = []
        self.playing: dict[int, str] = {}
        self.stopping: list[int] = []
        self.inputs: list[str] = []
        self._take(self.engine.start())
        self.now += 2.0
        if not self.engine.door.plays:
            self.client(asked.InputAudioBufferAppend(audio=AUDIO))

    def handle(self, event: happened.Input) -> None:
        self._take(self.engine.handle(event, self.now))

    def client(self, event: asked.ClientEvent) -> None:
        self.handle(happened.ClientSent(event))

    def _take(self, outputs: list[do.Output]) -> None:
        self.judge.take(outputs)
        for output in outputs:
            match output:
                case do.Generate(run=run):
                    self.said[run] = 0
                case do.Play(run=run):
                    self.playing.setdefault(run, "queued")
                case do.FinishPlayout(run=run):
                    self.playing[run] = "last of " + self.playing[run]
                case do.StopPlayout():
                    self.stopping += list(self.playing)
                    self.playing = {}
                case do.Hear(item_id=item_id):
                    self.unheard.append(item_id)
                case do.HearEarly(item_id=item_id, tell=tell):
                    self.early = item_id if tell else None
                case do.DropEarly():
                    self.early = None
                case do.ConfigureTurns(turn_detection=detection):
                    self.listens = detection is not None
                    if detection is None:
                        self.voice = "silent"
                case _:
                    pass
        self._agrees()

    def _agrees(self) -> None:
        engine, judge = self.engine, self.judge
        assert [str(item.id) for item in engine.conversation] == judge.order, "what was told is what there is"
        active = engine.active_response
        assert (None if active is None else active.id) == judge.default
        assert {each.id for each in engine.responses} == set(judge.opened) - judge.closed
        half = {str(item.id) for item in engine.conversation if getattr(item, "status", None) == "in_progress"}
        assert half <= judge.unfinished, "only what a response is making is in progress"
        if engine.turns.spoken_item_id is None:
            assert not judge.ducked, "an agent is soft only while the caller speaks"

    # -- what can happen

    def choices(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Everything that can happen now, by name."""
        yield from self._voice()
        yield from self._model()
        yield from self._playout()
        yield from self._clients()
        if self.engine.next_deadline() is not None:
            yield "deadline", self.deadline
        if self.unheard:
            yield "transcript", lambda: self._heard(self.unheard[0], "hi")
            yield "no transcript", lambda: self._heard(self.unheard[0], None)

    def _voice(self) -> Iterator[tuple[str, Callable[[], None]]]:
        at_ms = self.engine.input_ms
        if self.voice == "silent" and self.listens:
            yield "voice starts", self._start_speaking
        if self.voice == "speaks":
            yield "voice pauses", self._pause
        if self.voice == "pauses":
            yield "voice resumes", lambda: self._speak("speaks", happened.VoiceResumed())
            yield "voice stops", lambda: self._speak("silent", happened.VoiceStopped(at_ms, at_ms))
        if self.early is not None:
            item_id = self.early
            for text in ("Okay.", "I want the", None):
                yield f"pause heard: {text}", lambda text=text: self._pause_heard(item_id, text)  # type: ignore[misc]

    def _speak(self, voice: str, event: happened.Input) -> None:
        self.voice = voice
        self.handle(event)

    def _start_speaking(self) -> None:
        # Without a silence before it a turn has no padding, and there is nothing of it to commit.
        self.now += 0.2
        self._speak("speaks", happened.VoiceStarted(self.engine.input_ms))

    def _pause(self) -> None:
        self.now += 0.2
        self._speak("pauses", happened.VoicePaused(self.engine.input_ms, self.engine.input_ms))

    def _pause_heard(self, item_id: str, text: str | None) -> None:
        self.early = None
        self.handle(happened.PauseHeard(item_id, text))

    def _heard(self, item_id: str, text: str | None) -> None:
        self.unheard.remove(item_id)
        if text is None:
            self.handle(happened.TranscriptFailed(item_id, "c", "m"))
        else:
            self.handle(happened.TranscriptCompleted(item_id, text, 1.0))

    def _model(self) -> Iterator[tuple[str, Callable[[], None]]]:
        # The newest run and the one before it, which may have been cancelled and not know it yet.
        for run in [run for run in self.said if run not in self.ended][-2:]:
            steps = self.said[run]
            if steps < 2:
                yield f"model speaks {run}", lambda run=run: self._say(run)  # type: ignore[misc]
                yield f"model calls {run}", lambda run=run: self._call(run)  # type: ignore[misc]
            yield f"model ends {run}", lambda run=run: self._end(run, happened.GenerationFinished(run))  # type: ignore[misc]
            yield f"model fails {run}", lambda run=run: self._end(run, happened.GenerationFailed(run, "c", "m"))  # type: ignore[misc]

    def _say(self, run: int) -> None:
        self.said[run] += 1
        self.handle(happened.TextProduced(run, "word "))
        self.handle(happened.AudioProduced(run, bytes(PIECE_MS * 16), 8000, PIECE_MS, "word "))

    def _call(self, run: int) -> None:
        index = self.said[run]
        self.said[run] += 1
        self.handle(happened.ToolCallStarted(run, index, "f"))
        self.handle(happened.ToolArgumentsProduced(run, index, "{}"))

    def _end(self, run: int, event: happened.Input) -> None:
        self.ended.append(run)
        self.handle(event)

    def _playout(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for run, state in list(self.playing.items())[:1]:
            if state.endswith("queued"):
                yield f"playout starts {run}", lambda run=run: self._start(run)  # type: ignore[misc]
            elif state.startswith("last of "):
                yield f"playout ends {run}", lambda run=run: self._finish(run)  # type: ignore[misc]
        for run in self.stopping[:1]:
            yield f"playout stopped {run}", lambda run=run: self._stopped(run)  # type: ignore[misc]

    def _start(self, run: int) -> None:
        self.playing[run] = self.playing[run].replace("queued", "sounding")
        self.handle(happened.PlayoutStarted(run))
        self.handle(happened.PlayoutAdvanced(run, PIECE_MS // 2))

    def _finish(self, run: int) -> None:
        del self.playing[run]
        self.handle(happened.PlayoutFinished(run, PIECE_MS * self.said[run]))

    def _stopped(self, run: int) -> None:
        self.stopping.remove(run)
        self.handle(happened.PlayoutStopped(run, PIECE_MS // 2))

    def _clients(self) -> Iterator[tuple[str, Callable[[], None]]]:
        for name, event in self._client_events():
            yield name, lambda event=event: self.client(event)  # type: ignore[misc]

    def _client_events(self) -> Iterator[tuple[str, asked.ClientEvent]]:
        yield "commit", asked.InputAudioBufferCommit()
        yield "clear", asked.InputAudioBufferClear()
        yield "create", asked.ResponseCreate()
        aside = asked.ResponseParams(conversation="none", output_modalities=("text",))
        if len(self.engine.responses) < 2:
            yield "create aside", asked.ResponseCreate(response=aside)
        yield "cancel", asked.ResponseCancel()
        if not self.engine.door.plays and self.engine.turns.uncommitted_ms < PIECE_MS:
            yield "append", asked.InputAudioBufferAppend(audio=AUDIO)
        if self.playing:
            yield "clear output", asked.OutputAudioBufferClear()
        items = list(self.engine.conversation)
        if len(items) < 4:
            note = Message(role="user", content=(InputText(text="x"),))
            yield "write", asked.ConversationItemCreate(item=note, previous_item_id="root")
        spoken = [item for item in items if isinstance(item, Message) and item.role == "assistant"]
        for message in spoken[-1:]:
            yield "truncate", asked.ConversationItemTruncate(item_id=str(message.id), content_index=0, audio_end_ms=100)
        for item in items[-1:]:
            yield "delete", asked.ConversationItemDelete(item_id=str(item.id))
        for call in [item for item in items if isinstance(item, FunctionCall)][-1:]:
            output = FunctionCallOutput(call_id=str(call.call_id), output="done")
            yield "give output", asked.ConversationItemCreate(item=output)
        for name, detection in (("manual", None), ("server", ServerVad()), ("semantic", SemanticVad())):
            if type(detection) is not type(self.engine.session.audio.input.turn_detection):
                yield f"turns: {name}", _update(detection)

    def deadline(self) -> None:
        deadline = self.engine.next_deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.handle(happened.DeadlinePassed())

    # -- the state

    def canonical(self) -> str:
        """The state without what makes no difference: the numbers in ids, the time of day, what was counted."""
        surroundings = (
            self.listens, self.voice, self.early, self.unheard, self.said, self.ended, self.playing, self.stopping,
            sorted(self.judge.sounding),
        )  # fmt: skip
        return Canonical(self.now, self.engine.input_ms).of((vars(self.engine), surroundings))

    def rest(self) -> None:
        """Let everybody come to an end; fail when somebody cannot."""
        detection = self.engine.session.audio.input.turn_detection
        if isinstance(detection, ServerVad) and detection.idle_timeout_ms:
            # An agent that asks a silent caller again and again never rests.
            self.client(_update(ServerVad(idle_timeout_ms=None)))
        for _ in range(200):
            if self.voice == "speaks":
                self._pause()
            elif self.voice == "pauses":
                self._speak("silent", happened.VoiceStopped(self.engine.input_ms, self.engine.input_ms))
            elif self.unheard:
                self._heard(self.unheard[0], "hi")
            elif runs := [run for run in self.said if run not in self.ended]:
                self._end(runs[0], happened.GenerationFinished(runs[0]))
            elif self.stopping:
                self._stopped(self.stopping[0])
            elif self.playing:
                run, state = next(iter(self.playing.items()))
                self._start(run) if state.endswith("queued") else self._finish(run)
            elif self.engine.next_deadline() is not None:
                self.deadline()
            else:
                break
        else:
            raise AssertionError("it never comes to rest")
        assert not self.engine.responses, "everybody has finished, and a response is still open"
        assert not self.engine.agent_speaks
        assert not self.judge.ducked
        assert not self.judge.sounding, "what began to sound has an end"
        self.client(asked.ResponseCreate())
        assert self.engine.active_response is not None, "the session is alive"
        self._take(self.engine.close(self.now))
        self.judge.is_over()


def _update(detection: TurnDetection | None) -> asked.SessionUpdate:
    wanted = Audio(input=AudioInput(turn_detection=detection))
    return asked.SessionUpdate(session=SessionParams(type="realtime", audio=wanted))


class Canonical:
    """Writes a graph of objects with ids numbered as they are met, and times as they are from now."""

    # Ids and chance, the time of day, what was counted, and what never changes or is looked at elsewhere.
    _LEFT_OUT = frozenset({"_out", "_runs", "_began", "_now", "_count", "door", "_client", "options", "ids", "_ids"})
    _SKIPPED = (Engine, TokenBudget, ResponseSettings, TranscriptionEcho, FunctionTool, MethodType)

    def __init__(self, now: float, input_ms: int) -> None:
        self._now = now
        self._input_ms = input_ms
        self._ids: dict[str, str] = {}
        self._met: dict[int, str] = {}
        self._written: list[str] = []

    def of(self, value: object) -> str:
        self._write(value)
        return " ".join(self._written)

    def _write(self, value: Any) -> None:
        writer = self._WRITERS.get(type(value))
        if writer is None:
            writer = self._WRITERS[type(value)] = self._writer_of(type(value))
        writer(self, value)

    @classmethod
    def _writer_of(cls, kind: type) -> Callable[[Canonical, Any], None]:
        if issubclass(kind, cls._SKIPPED):
            return cls._skip
        if issubclass(kind, Session):
            return cls._session
        if issubclass(kind, ContextWindow):
            return cls._window
        return cls._object

    def _constant(self, value: object) -> None:
        self._written.append(repr(value))

    def _skip(self, _: object) -> None:
        pass

    def _session(self, value: Session) -> None:
        self._written.append(type(value.audio.input.turn_detection).__name__)

    def _window(self, value: ContextWindow) -> None:
        self._set(value.left_out)

    def _text(self, value: str) -> None:
        if _ID.match(value):
            value = self._ids.setdefault(value, f"#{len(self._ids)}")
        self._written.append(value)

    def _int(self, value: int) -> None:
        # Positions in the input are far from all other numbers.
        self._written.append(str(value) if abs(value) < 1000 else f"{value - self._input_ms:+d}ms")

    def _float(self, value: float) -> None:
        self._written.append(f"{value:.3f}" if abs(value) < BEGAN / 2 else f"{value - self._now:+.3f}s")

    def _dict(self, value: dict[Any, Any]) -> None:
        self._written.append("{")
        for key, each in value.items():
            if key not in self._LEFT_OUT:
                self._write(key)
                self._write(each)
        self._written.append("}")

    def _list(self, value: Any) -> None:
        self._written.append("[")
        for each in value:
            self._write(each)
        self._written.append("]")

    def _set(self, value: Any) -> None:
        self._list(sorted(value, key=lambda each: self._ids.get(each, str(each))))

    def _object(self, value: Any) -> None:
        met = self._met.get(id(value))
        if met is not None:
            self._written.append(met)
            return
        self._met[id(value)] = f"@{len(self._met)}"
        kind = type(value)
        self._written.append(kind.__name__)
        for name in vars(value) if hasattr(value, "__dict__") else _members(kind):
            if name not in self._LEFT_OUT:
                self._write(getattr(value, name))
        self._written.append(";")

    _WRITERS: ClassVar[dict[type, Callable[[Canonical, Any], None]]] = {
        type(None): _constant,
        bool: _constant,
        bytes: _skip,
        str: _text,
        int: _int,
        float: _float,
        dict: _dict,
        list: _list,
        tuple: _list,
        deque: _list,
        set: _set,
        frozenset: _set,
        type(UNSET): _constant,
    }


def _members(kind: Any) -> tuple[str, ...]:
    return kind.__struct_fields__ if hasattr(kind, "__struct_fields__") else kind.__slots__


@dataclass
class Seen:
    """What a walk has met."""

    states: int = 0
    steps: int = 0
    kinds: set[str] = field(default_factory=set)


def walk(begin: Callable[[], Call], opening: tuple[str, ...], depth: int) -> Seen:
    """Walk every order of up to ``depth`` choices behind an opening; return how much was seen."""
    seen = Seen()
    known: set[str] = set()
    queue = deque([opening])
    while queue:
        path = queue.popleft()
        call = play(begin(), path)
        state = call.canonical()
        if state in known:
            continue
        known.add(state)
        names = [name for name, _ in call.choices()] if len(path) < len(opening) + depth else []
        seen.steps += len(names)
        seen.kinds.update(name.split(" ")[0] for name in names)
        queue.extend((*path, name) for name in names)
        try:
            call.rest()
        except AssertionError as broken:
            raise AssertionError(f"{broken} at rest after {path}") from broken
    seen.states = len(known)
    return seen


def play(call: Call, path: tuple[str, ...]) -> Call:
    """Take choices by name."""
    for name in path:
        chosen = dict(call.choices())[name]
        try:
            chosen()
        except AssertionError as broken:
            raise AssertionError(f"{broken} in {path}") from broken
    return call
