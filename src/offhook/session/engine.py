"""The conversation of one call or socket: who speaks, what is answered, and what was heard.

Follow a turn: ``_voice_started`` -> ``_voice_stopped`` -> ``commit`` -> ``_answer_turn`` -> ``create_response`` ->
(inputs from the model) -> ``_end_response`` -> (inputs from the playout). Barge-in: ``_interrupt`` ->
``_playout_stopped`` -> ``_finish_stop``. Source: API reference, "Realtime"; events come in the order of live traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.client import ClientRequests
from offhook.session.conversation import Conversation, Span
from offhook.session.door import Door, TelephoneDoor
from offhook.session.inputs import Input
from offhook.session.outputs import Output
from offhook.session.pending import PendingRequests
from offhook.session.playout import Flowing, Playout, Stopping
from offhook.session.request import context, generation_request, response_settings
from offhook.session.response import (
    Cancelled,
    Completed,
    Ending,
    Failed,
    Incomplete,
    Response,
    Saying,
)
from offhook.session.settings import SessionDefaults
from offhook.session.transcripts import Transcripts
from offhook.session.usage import TokenBudget, estimate_input, make_usage
from offhook.wire import server_events as ev
from offhook.wire.client_events import ResponseParams
from offhook.wire.ids import Ids
from offhook.wire.items import InputAudio, InputText, Item, Message
from offhook.wire.server_events import ServerEvent
from offhook.wire.session import ServerVad, Session, TurnDetection
from offhook.wire.transcription import TranscriptionEvent

# Responses outside the conversation may run side by side; each holds a request to a model.
MAX_PARALLEL_RESPONSES = 8

SILENT_CALLER = "The user has not said anything for a while. Ask whether they are still there, or move on."


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What the surroundings of a session are like.

    ``needs_transcripts``: the model reads words, so a response waits for those of the caller. ``tokens_per_minute``:
    responses beyond it fail with ``rate_limit_exceeded``. ``strict_models``: no others may be named; None is any.
    """

    needs_transcripts: bool = True
    tokens_per_minute: int = 10_000_000
    strict_models: frozenset[str] | None = None
    defaults: SessionDefaults = field(default_factory=SessionDefaults)


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nobody speaks. Audio since ``since_ms`` was not committed yet."""

    since_ms: int


@dataclass(frozen=True, slots=True)
class Speaking:
    """The caller speaks; it will become the item ``item_id``."""

    item_id: str
    start_ms: int


class Engine:
    """The conversation machine of one telephone call, or of one socket: ``door`` says which.

    ``handle`` takes what happened and the time (seconds, monotonic), and returns what to do, in order. An update may
    still name the model of a session unless it was named before (``model_named``).
    """

    def __init__(
        self,
        session: Session,
        ids: Ids,
        options: EngineOptions,
        now: float,
        *,
        model_named: bool,
        door: Callable[[Engine], Door] = TelephoneDoor,
    ) -> None:
        self.session = session
        self.options = options
        self.ids = ids
        self.conversation = Conversation(ids.conversation())
        self.has_spoken = False
        self.model_named = model_named
        self.now = now
        self.playout = Playout()
        self.door = door(self)
        self._began = now
        self._out: list[Output] = []
        self._turn: Quiet | Speaking = Quiet(0)
        self._responses: dict[int, Response] = {}
        self._spoken: dict[str, Response] = {}
        self._default: Response | None = None
        self._runs = 0
        self._turn_waits = False
        self._input: dict[int, tuple[str, tuple[Item, ...]]] = {}
        self._budget = TokenBudget(options.tokens_per_minute)
        self._idle_since: float | None = None
        self._answered_once = False
        self._client = ClientRequests(self)
        self._transcripts = Transcripts(self)
        self._pending = PendingRequests(self)

    # -- driving

    def start(self) -> list[Output]:
        """Return what has to be done when the session begins."""
        self._out = []
        self.door.enter()
        self.emit(do.ConfigureTurns(self.session.audio.input.turn_detection))
        return self._out

    def handle(self, event: Input, now: float) -> list[Output]:
        """Take what happened; return what to do, in order. Never raises for anything a remote party did."""
        self.now = now
        self._out = []
        self._HANDLERS[type(event)](self, event)
        self._answer_waiting_turn()
        self._watch_silence()
        return self._out

    def next_deadline(self) -> float | None:
        """Return when ``DeadlinePassed`` is due, if nothing else happens before."""
        times = [time for time in (self.playout.deadline(), self._idle_deadline()) if time is not None]
        return min(times, default=None)

    def close(self, now: float) -> list[Output]:
        """End the session with its call: responses in progress are cancelled, so that every one has an end."""
        self.now = now
        self._out = []
        for response in list(self._responses.values()):
            self.emit(do.CancelGeneration(response.run))
            self._end_response(response, Cancelled("client_cancelled"))
        return self._out

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the session began."""
        return round((self.now - self._began) * 1000)

    @property
    def input_ms(self) -> int:
        """Milliseconds of input audio since the session began."""
        return self.door.input_ms

    def emit(self, output: Output) -> None:
        """Add a command to what ``handle`` returns."""
        self._out.append(output)

    def send(self, event: ServerEvent | TranscriptionEvent) -> None:
        """Send an event to every socket."""
        self._out.append(do.Send(event))

    def send_all(self, events: Iterable[ServerEvent]) -> None:
        """Send events to every socket."""
        self._out.extend(map(do.Send, events))

    # -- the caller's turns

    def _voice_started(self, event: happened.VoiceStarted) -> None:
        detection = self.session.audio.input.turn_detection
        if detection is None or isinstance(self._turn, Speaking):
            return
        padding_ms = detection.prefix_padding_ms if isinstance(detection, ServerVad) else 300
        start_ms = max(event.at_ms - (padding_ms or 0), 0)
        self._turn = Speaking(self.ids.item(), start_ms)
        self.send(ev.SpeechStarted(event_id=self.ids.event(), audio_start_ms=start_ms, item_id=self._turn.item_id))
        if detection.interrupt_response:
            self._turn_waits = False
            self._interrupt()

    def _voice_paused(self, event: happened.VoicePaused) -> None:
        if isinstance(turn := self._turn, Speaking):
            transcription = self.session.audio.input.transcription
            self.emit(do.HearEarly(turn.item_id, turn.start_ms, event.decided_ms, transcription))

    def _voice_resumed(self, _: happened.VoiceResumed) -> None:
        if isinstance(self._turn, Speaking):
            self.emit(do.DropEarly())

    def _voice_stopped(self, event: happened.VoiceStopped) -> None:
        detection = self.session.audio.input.turn_detection
        if detection is None or not isinstance(self._turn, Speaking):
            return
        turn = self._turn
        self.send(ev.SpeechStopped(event_id=self.ids.event(), audio_end_ms=event.decided_ms, item_id=turn.item_id))
        if event.end_ms <= turn.start_ms:
            # The client took, or threw away, all that was said.
            self._turn = Quiet(turn.start_ms)
            self.emit(do.DropEarly())
            return
        self.commit(turn.item_id, turn.start_ms, event.decided_ms)
        if detection.create_response:
            self._answer_turn()

    def commit(self, item_id: str, start_ms: int, end_ms: int) -> None:
        """Make a user item of the input audio between two positions."""
        self._turn = Quiet(end_ms)
        self.send(
            ev.InputCommitted(event_id=self.ids.event(), previous_item_id=self.conversation.last_id, item_id=item_id)
        )
        self._add_spoken_item(item_id, Span(start_ms, end_ms))

    def _add_spoken_item(self, item_id: str, span: Span) -> None:
        item = Message(id=item_id, status="completed", role="user", content=(InputAudio(transcript=None),))
        self.add_item(item)
        self.conversation.audio[item_id] = span
        self._transcripts.expect(item_id)
        self.emit(do.Hear(item_id, span.start_ms, span.end_ms, self.session.audio.input.transcription))

    def add_item(self, item: Item, after: str | None = None) -> None:
        """Put a finished item into the conversation and announce it. Raises ApiProblem when it cannot be there."""
        previous_id = self.conversation.append(item) if after is None else self.conversation.insert(item, after)
        self.send(ev.ConversationItemAdded(event_id=self.ids.event(), previous_item_id=previous_id, item=item))
        self.send(ev.ConversationItemDone(event_id=self.ids.event(), previous_item_id=previous_id, item=item))

    def _answer_turn(self) -> None:
        """Respond to a turn now, or as soon as the response before it has ended."""
        if self._default is not None:
            self._turn_waits = True
        else:
            self.create_response(None)

    @property
    def uncommitted_ms(self) -> int:
        """How much audio was not committed yet."""
        start_ms = self._turn.start_ms if isinstance(self._turn, Speaking) else self._turn.since_ms
        return self.input_ms - start_ms

    def commit_so_far(self) -> None:
        """Make a user item of the audio that was not committed yet; a caller who is speaking goes on in another."""
        match self._turn:
            case Speaking(item_id=item_id, start_ms=start_ms):
                self.commit(item_id, start_ms, self.input_ms)
                self._turn = Speaking(self.ids.item(), self.input_ms)
            case Quiet(since_ms=since_ms):
                self.commit(self.ids.item(), since_ms, self.input_ms)

    def forget_input(self) -> None:
        """Drop the audio that was not committed yet; of a caller who is speaking, what follows is kept."""
        if isinstance(self._turn, Speaking):
            self.emit(do.DropEarly())
            self._turn = Speaking(self.ids.item(), self.input_ms)
        else:
            self._turn = Quiet(self.input_ms)

    def reconfigure_turns(self, detection: TurnDetection | None) -> None:
        """Detect turns in another way from now on."""
        if detection is None and isinstance(self._turn, Speaking):
            self._turn = Quiet(self._turn.start_ms)
            self.emit(do.DropEarly())
        self.emit(do.ConfigureTurns(detection))

    # -- silence

    def _watch_silence(self) -> None:
        """Keep the time since when both sides have been silent after an answer was played."""
        detection = self.session.audio.input.turn_detection
        watching = isinstance(detection, ServerVad) and bool(detection.idle_timeout_ms) and self._answered_once
        busy = bool(self._responses) or self.playout.busy or isinstance(self._turn, Speaking)
        if not watching or busy:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = max(self.now, self.door.silent_at)

    def _idle_deadline(self) -> float | None:
        detection = self.session.audio.input.turn_detection
        if self._idle_since is None or not isinstance(detection, ServerVad) or not detection.idle_timeout_ms:
            return None
        return self._idle_since + detection.idle_timeout_ms / 1000

    def _deadline_passed(self, _: happened.DeadlinePassed) -> None:
        stop_deadline = self.playout.deadline()
        if stop_deadline is not None and self.now >= stop_deadline:
            self._finish_stop()
        idle_deadline = self._idle_deadline()
        if idle_deadline is not None and self.now >= idle_deadline:
            self._break_silence()

    def _break_silence(self) -> None:
        silent_ms = round((self.now - (self._idle_since or self._began)) * 1000)
        start_ms = max(self.input_ms - silent_ms, 0)
        self._idle_since = None
        item_id = self.ids.item()
        self.send(
            ev.InputTimeoutTriggered(
                event_id=self.ids.event(), audio_start_ms=start_ms, audio_end_ms=self.input_ms, item_id=item_id
            )
        )
        note = Message(id=self.ids.item(), status="completed", role="system", content=(InputText(text=SILENT_CALLER),))
        self.add_item(note)
        self.send(ev.InputCommitted(event_id=self.ids.event(), previous_item_id=note.id or None, item_id=item_id))
        item = Message(id=item_id, status="completed", role="user", content=(InputAudio(transcript=None),))
        self.add_item(item)
        self._transcripts.expect(item_id)
        self.create_response(None)
        # Nobody spoke, so there is nothing to ask a speech recogniser about.
        self._transcripts.complete(happened.TranscriptCompleted(item_id, "", 0.0))

    # -- responses

    @property
    def active_response(self) -> Response | None:
        """The response of the conversation that is in progress."""
        return self._default

    @property
    def responses(self) -> list[Response]:
        """All responses in progress, those out of band too."""
        return list(self._responses.values())

    def create_response(self, params: ResponseParams | None) -> None:
        """Begin a response. Raises ApiProblem when one is active already, or its input names what does not exist."""
        out_of_band = params is not None and params.conversation == "none"
        if not out_of_band and self._default is not None:
            message = (
                f"Conversation already has an active response in progress: {self._default.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise ApiProblem(400, "conversation_already_has_active_response", message)
        if out_of_band and len(self._responses) >= MAX_PARALLEL_RESPONSES:
            message = f"There are {MAX_PARALLEL_RESPONSES} responses in progress, which is the limit."
            raise ApiProblem(400, "rate_limit_exceeded", message)
        items = context(params, self.conversation, self.ids)
        self._runs += 1
        run = self._runs
        settings = response_settings(self.session, params, formats_given=self.door.formats_given)
        conversation = None if out_of_band else self.conversation
        response = Response(run, settings, conversation, self.ids, keeps_open=not self.door.plays)
        request = generation_request(self.session, params, response, items)
        self._responses[run] = response
        if not out_of_band:
            self._default = response
            self._turn_waits = False
        self._input[run] = (request.instructions, items)
        self.send_all(response.open())
        if self._budget.exhausted(self.now):
            message = f"Rate limit reached: {self.options.tokens_per_minute} tokens per minute."
            self._end_response(response, Failed("rate_limit_error", "rate_limit_exceeded", message))
            return
        unsettled = self.playout.unsettled
        if self.options.needs_transcripts:
            unsettled.update(self._transcripts.expected)
        if not self._pending.hold(request, unsettled):
            self.emit(request)

    def _end_response(self, response: Response, ending: Ending, usage: ev.Usage | None = None) -> None:
        """Close a response and account for it."""
        if response.closed:
            return
        run = response.run
        instructions, items = self._input.pop(run)
        if usage is None:
            spans = (self.conversation.audio.get(str(item.id)) for item in items)
            heard_ms = sum(span.end_ms - span.start_ms for span in spans if span is not None)
            estimate = estimate_input(instructions, items, heard_ms)
            usage = make_usage(estimate, response.produced_text, response.produced_ms)
        self.door.finish(response, whole=isinstance(ending, Completed | Incomplete))
        self.send_all(response.close(ending, usage))
        self._budget.spend(usage.total_tokens, self.now)
        self.send(ev.RateLimitsUpdated(event_id=self.ids.event(), rate_limits=(self._budget.state(self.now),)))
        if run in self.playout.runs:
            self.emit(do.FinishPlayout(run))
        del self._responses[run]
        self._pending.release(run)
        if not response.out_of_band:
            self._spoken |= dict.fromkeys((message.item_id for message in response.spoken), response)
        if response is self._default:
            self._default = None
            self._answered_once = True

    def _answer_waiting_turn(self) -> None:
        if self._turn_waits and self._default is None:
            self.create_response(None)

    def cancel_response(self, response: Response) -> None:
        """Stop generating. What is queued already still plays: ``output_audio_buffer.clear`` stops that."""
        self.emit(do.CancelGeneration(response.run))
        self._end_response(response, Cancelled("client_cancelled"))

    # -- from the model

    def _response_of(self, run: int) -> Response | None:
        response = self._responses.get(run)
        if response is None or self.playout.is_cancelling(response):
            return None
        return response

    def _text_produced(self, event: happened.TextProduced) -> None:
        response = self._response_of(event.run)
        if response is not None:
            self.send_all(response.add_text(event.text))

    def _audio_produced(self, event: happened.AudioProduced) -> None:
        response = self._response_of(event.run)
        if response is None or not response.wants_sound(event.message):
            return
        self.has_spoken = True
        self.send_all(response.add_audio(event.duration_ms, event.text, event.message))
        self.door.say(response, event)

    def _tool_call_started(self, event: happened.ToolCallStarted) -> None:
        response = self._response_of(event.run)
        if response is not None:
            self.send_all(response.start_call(event.index, event.name, event.call_id))

    def _tool_arguments_produced(self, event: happened.ToolArgumentsProduced) -> None:
        response = self._response_of(event.run)
        if response is not None:
            self.send_all(response.add_arguments(event.index, event.delta))

    def _words_finished(self, event: happened.WordsFinished) -> None:
        response = self._response_of(event.run)
        if response is not None:
            self.send_all(response.finish_words())

    def _generation_finished(self, event: happened.GenerationFinished) -> None:
        response = self._response_of(event.run)
        if response is not None:
            ending = Completed() if event.reason == "stop" else Incomplete(event.reason)
            self._end_response(response, ending, event.usage)

    def _generation_failed(self, event: happened.GenerationFailed) -> None:
        response = self._response_of(event.run)
        if response is not None:
            self._end_response(response, Failed(event.kind, event.code, event.message))

    # -- what is played, and the stopping of it

    def _interrupt(self) -> None:
        """The caller speaks: stop generating and playing."""
        self.door.interrupt()
        active = self._default
        if active is not None and not self.playout.is_cancelling(active):
            self.emit(do.CancelGeneration(active.run))
        if self.playout.busy:
            self._stop(active)
        elif active is not None and self.door.plays:
            self._cut(active, 0.0, ends=True)
        elif active is not None:
            # Only the client knows what was heard, and truncates the item itself.
            self._end_response(active, Cancelled("turn_detected"))

    def stop_playout(self) -> None:
        """Drop what is queued; what was really heard is known a tick later."""
        if self.playout.runs:
            self._stop(None)

    def _stop(self, cancels: Response | None) -> None:
        if self.playout.runs:
            self.emit(do.StopPlayout())
        self.playout.stop(self.now, cancels)

    def _playout_started(self, event: happened.PlayoutStarted) -> None:
        queued = self.playout.find(event.run)
        if queued is not None and not queued.started:
            queued.started = True
            self.send(ev.OutputBufferStarted(event_id=self.ids.event(), response_id=queued.response.id))

    def _playout_advanced(self, event: happened.PlayoutAdvanced) -> None:
        queued = self.playout.find(event.run)
        if queued is not None:
            queued.played_ms = event.played_ms

    def _playout_finished(self, event: happened.PlayoutFinished) -> None:
        queued = self.playout.runs.pop(event.run, None)
        if queued is None:
            # It ended by itself while a stop was on its way: nothing of it was cut.
            self._report(event.run, event.played_ms)
        else:
            self.send(ev.OutputBufferStopped(event_id=self.ids.event(), response_id=queued.response.id))

    def _playout_stopped(self, event: happened.PlayoutStopped) -> None:
        self._report(event.run, event.played_ms)

    def _report(self, run: int, played_ms: int) -> None:
        """Take what was really sent of a run that is being stopped; the last such report ends the stop."""
        state = self.playout.state
        if not isinstance(state, Stopping) or run not in state.runs:
            return
        state.runs[run].played_ms = played_ms
        state.runs[run].reported = True
        if all(queued.reported for queued in state.runs.values()):
            self._finish_stop()

    def _finish_stop(self) -> None:
        """Cut everything that was stopped at what went out of it."""
        state = self.playout.state
        if not isinstance(state, Stopping):
            return
        unsettled = self.playout.unsettled
        self.playout.state = Flowing()
        for queued in state.runs.values():
            if queued.started:
                self.send(ev.OutputBufferCleared(event_id=self.ids.event(), response_id=queued.response.id))
            self._cut(queued.response, queued.played_ms, ends=queued.response is state.cancels)
        if state.cancels is not None:
            # When it had nothing queued yet, what played belonged to the response before it.
            self._cut(state.cancels, 0.0, ends=True)
        for item_id in sorted(unsettled):
            self.settle(item_id)

    def _cut(self, response: Response, played_ms: float, *, ends: bool) -> None:
        """Let the conversation remember only what was heard of a response."""
        cut = response.silence(played_ms)
        if ends:
            self._end_response(response, Cancelled("turn_detected"))
        for message in cut:
            self.send_all(response.tell_cut(message))

    def message_spoken(self, item_id: str) -> tuple[Response, Saying] | None:
        """Return the response that said an item, and its message."""
        responses = [*self._responses.values(), *filter(None, [self._spoken.get(item_id)])]
        found = ((each, message) for each in responses for message in each.spoken if message.item_id == item_id)
        return next(found, None)

    def forget_item(self, item_id: str) -> None:
        """Drop what is known of an item beside the conversation."""
        self._spoken.pop(item_id, None)
        self._transcripts.forget(item_id)
        self.settle(item_id)

    def settle(self, item_id: str) -> None:
        """What an item says is known now, as far as it ever will be."""
        self._pending.settle(item_id)

    # -- what the caller said

    def _transcript_grew(self, event: happened.TranscriptGrew) -> None:
        self._transcripts.grow(event)

    def _transcript_completed(self, event: happened.TranscriptCompleted) -> None:
        self._transcripts.complete(event)

    def _transcript_failed(self, event: happened.TranscriptFailed) -> None:
        self._transcripts.fail(event)

    # -- from clients and the keypad

    def _client_sent(self, event: happened.ClientSent) -> None:
        self._client.handle(event.event, event.origin)

    def _client_erred(self, event: happened.ClientErred) -> None:
        self._client.refuse(ApiProblem(400, event.code, event.message, param=event.param), event.event_id, event.origin)

    def _digit_pressed(self, event: happened.DigitPressed) -> None:
        self.send(ev.DtmfReceived(event_id=self.ids.event(), event=event.digit, received_at=event.received_at_s))

    def send_session(self) -> None:
        """Say what the session is now."""
        self.door.tell_session()

    _HANDLERS: ClassVar[dict[type, Callable[..., None]]] = {
        happened.ClientSent: _client_sent,
        happened.ClientErred: _client_erred,
        happened.VoiceStarted: _voice_started,
        happened.VoicePaused: _voice_paused,
        happened.VoiceResumed: _voice_resumed,
        happened.VoiceStopped: _voice_stopped,
        happened.DigitPressed: _digit_pressed,
        happened.PlayoutStarted: _playout_started,
        happened.PlayoutAdvanced: _playout_advanced,
        happened.PlayoutFinished: _playout_finished,
        happened.PlayoutStopped: _playout_stopped,
        happened.TextProduced: _text_produced,
        happened.AudioProduced: _audio_produced,
        happened.ToolCallStarted: _tool_call_started,
        happened.ToolArgumentsProduced: _tool_arguments_produced,
        happened.WordsFinished: _words_finished,
        happened.GenerationFinished: _generation_finished,
        happened.GenerationFailed: _generation_failed,
        happened.TranscriptGrew: _transcript_grew,
        happened.TranscriptCompleted: _transcript_completed,
        happened.TranscriptFailed: _transcript_failed,
        happened.DeadlinePassed: _deadline_passed,
    }
