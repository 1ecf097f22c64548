"""The caller's turns: where speech began, which item it becomes, and what clients are told of it.

Speech that started stops, under the same item, before that item is committed. A client that commits or clears while the
caller speaks cuts the speech in two: it stops there, and the rest starts as another item. In a pause nobody knows
whether there will be a rest, so that starts when the caller is heard again. Source: API reference,
"input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.conversation import Span
from offhook.wire import server_events as ev
from offhook.wire.items import InputAudio, Message
from offhook.wire.session import ServerVad, TurnDetection

if TYPE_CHECKING:
    from offhook.session.engine import Engine

# The sound before speech that semantic turns begin with; of the other kind a session says how much.
SEMANTIC_PADDING_MS = 300


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nobody speaks. Audio since ``since_ms`` was not committed yet; speech of an item ends at ``spoken_until_ms``."""

    since_ms: int
    spoken_until_ms: int


@dataclass(frozen=True, slots=True)
class Speaking:
    """The caller speaks, or (``paused``) may have stopped; it will become the item ``item_id``."""

    item_id: str
    start_ms: int
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """The client took, or threw away, what was said before a pause, which lasts still. ``since_ms`` is up to where."""

    since_ms: int


class Turns:
    """Makes items of what the caller says, by what the audio plane hears and what clients ask for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._state: Quiet | Speaking | Taken = Quiet(0, 0)

    @property
    def spoken_item_id(self) -> str | None:
        """The item that a caller who is speaking will make."""
        return self._state.item_id if isinstance(self._state, Speaking) else None

    @property
    def speaks(self) -> bool:
        """Whether the caller speaks."""
        return isinstance(self._state, Speaking)

    @property
    def uncommitted_ms(self) -> int:
        """How much audio was not committed yet."""
        return self._engine.input_ms - self._start_ms

    @property
    def _start_ms(self) -> int:
        state = self._state
        return state.start_ms if isinstance(state, Speaking) else state.since_ms

    # -- what the audio plane hears

    def started(self, event: happened.VoiceStarted) -> None:
        """The caller began to speak."""
        detection = self._engine.session.audio.input.turn_detection
        if detection is None or isinstance(self._state, Speaking):
            return
        padding_ms = detection.prefix_padding_ms if isinstance(detection, ServerVad) else SEMANTIC_PADDING_MS
        spoken_until_ms = self._state.spoken_until_ms if isinstance(self._state, Quiet) else self._state.since_ms
        self._begin(max(event.at_ms - (padding_ms or 0), spoken_until_ms), event.at_ms, detection)

    def _begin(self, start_ms: int, heard_ms: int, detection: TurnDetection) -> None:
        engine = self._engine
        self._speak_from(start_ms)
        engine.waiting.hush()
        if detection.interrupt_response and not engine.semantic.doubts(heard_ms):
            engine.interrupt()

    def _speak_from(self, start_ms: int) -> None:
        engine = self._engine
        self._state = Speaking(engine.ids.item(), start_ms)
        engine.send(ev.SpeechStarted(event_id=engine.ids.event(), audio_start_ms=start_ms, item_id=self._state.item_id))

    def paused(self, event: happened.VoicePaused) -> None:
        """The caller may have stopped."""
        engine, state = self._engine, self._state
        if isinstance(state, Speaking):
            transcription = engine.session.audio.input.transcription
            tell = engine.semantic.paused(event)
            self._state = Speaking(state.item_id, state.start_ms, paused=True)
            engine.emit(do.HearEarly(state.item_id, state.start_ms, event.decided_ms, transcription, tell))

    def resumed(self) -> None:
        """The caller, who had paused, speaks on."""
        engine, detection = self._engine, self._engine.session.audio.input.turn_detection
        match self._state:
            case Speaking(item_id=item_id, start_ms=start_ms):
                self._state = Speaking(item_id, start_ms)
                engine.semantic.resumed()
                engine.emit(do.DropEarly())
            case Taken(since_ms=since_ms) if detection is not None:
                engine.semantic.resumed()
                self._begin(since_ms, engine.input_ms, detection)
            case _:
                pass

    def stopped(self, event: happened.VoiceStopped) -> None:
        """The caller's turn is over."""
        engine, detection = self._engine, self._engine.session.audio.input.turn_detection
        turn = self._state
        if detection is None or isinstance(turn, Quiet):
            return
        is_nod = engine.semantic.ended()
        if isinstance(turn, Taken):
            self._state = Quiet(turn.since_ms, turn.since_ms)
            return
        self._tell_stop(turn.item_id, event.decided_ms)
        if event.end_ms <= turn.start_ms:
            # The client took, or threw away, all that was said.
            self._state = Quiet(turn.start_ms, turn.start_ms)
            engine.emit(do.DropEarly())
            return
        self._commit(turn.item_id, turn.start_ms, event.decided_ms)
        self._state = Quiet(event.decided_ms, event.end_ms)
        if detection.create_response and not is_nod:
            engine.answer_turn()

    # -- what clients ask for

    def commit(self) -> None:
        """Make a user item of the audio that was not committed yet; a caller who is speaking goes on in another."""
        state, now_ms = self._state, self._engine.input_ms
        item_id = self._cut(now_ms) or self._engine.ids.item()
        self._commit(item_id, self._start_ms, now_ms)
        self._go_on(state, now_ms)

    def clear(self) -> None:
        """Drop the audio that was not committed yet; of a caller who is speaking, what follows is kept."""
        engine, state, now_ms = self._engine, self._state, self._engine.input_ms
        if self._cut(now_ms) is not None:
            engine.emit(do.DropEarly())
        engine.send(ev.InputCleared(event_id=engine.ids.event()))
        self._go_on(state, now_ms)

    def _cut(self, now_ms: int) -> str | None:
        """End what is being said here; return the item that it makes, None when nobody speaks."""
        state = self._state
        if not isinstance(state, Speaking):
            return None
        if state.paused:
            # Nothing more will be known of it.
            self._engine.semantic.ended()
        self._tell_stop(state.item_id, now_ms)
        return state.item_id

    def _go_on(self, before: Quiet | Speaking | Taken, now_ms: int) -> None:
        match before:
            case Quiet():
                self._state = Quiet(now_ms, now_ms)
            case Taken() | Speaking(paused=True):
                self._state = Taken(now_ms)
            case Speaking():
                self._speak_from(now_ms)
            case _:
                assert_never(before)

    def reconfigure(self, detection: TurnDetection | None) -> None:
        """Detect turns in another way from now on."""
        engine = self._engine
        engine.semantic.reconfigured()
        if detection is None and not isinstance(self._state, Quiet):
            if isinstance(self._state, Speaking):
                self._tell_stop(self._state.item_id, engine.input_ms)
            # What was said is the client's to commit.
            self._state = Quiet(self._start_ms, self._start_ms)
            engine.emit(do.DropEarly())
        engine.emit(do.ConfigureTurns(detection))

    # -- items

    def _tell_stop(self, item_id: str, end_ms: int) -> None:
        engine = self._engine
        engine.send(ev.SpeechStopped(event_id=engine.ids.event(), audio_end_ms=end_ms, item_id=item_id))

    def _commit(self, item_id: str, start_ms: int, end_ms: int) -> None:
        """Make a user item of the input audio between two positions."""
        engine = self._engine
        previous_id = engine.conversation.last_id
        engine.send(ev.InputCommitted(event_id=engine.ids.event(), previous_item_id=previous_id, item_id=item_id))
        engine.add_item(Message(id=item_id, status="completed", role="user", content=(InputAudio(transcript=None),)))
        engine.conversation.audio[item_id] = Span(start_ms, end_ms)
        engine.transcripts.expect(item_id)
        engine.emit(do.Hear(item_id, start_ms, end_ms, engine.session.audio.input.transcription))
