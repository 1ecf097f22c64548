"""The conversation of one call or socket: who speaks, what is answered, and what was heard.

Follow a turn: ``turns.started`` -> ``turns.stopped`` -> ``answer_turn`` -> ``create_response`` -> (inputs from the
model) -> ``end_response`` -> (inputs from the playout). Barge-in: ``interrupt`` -> ``_playout_stopped`` ->
``_finish_stop``. Source: API reference, "Realtime"; events come in the order of live traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import ClassVar

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.client import ClientRequests
from offhook.session.conversation import Conversation
from offhook.session.deadline import earliest
from offhook.session.door import Door, TelephoneDoor
from offhook.session.inputs import Input
from offhook.session.mcp import as_model_reads
from offhook.session.options import EngineOptions
from offhook.session.outputs import Output
from offhook.session.partial import Partials
from offhook.session.pending import PendingRequests
from offhook.session.playout import Flowing, Playout, Stopping
from offhook.session.produced import ModelInput, Produced
from offhook.session.request import context, generation_request, response_settings
from offhook.session.response import Cancelled, Completed, Ending, Failed, Incomplete, Response, Saying
from offhook.session.semantic import SemanticTurns
from offhook.session.silence import Silence
from offhook.session.tools import ToolBox, ToolInput
from offhook.session.transcripts import Transcripts
from offhook.session.truncation import ContextWindow, TooLong
from offhook.session.turns import Turns
from offhook.session.usage import TokenBudget
from offhook.session.waiting import Waiting
from offhook.wire import server_events as ev
from offhook.wire.client_events import InputAudioBufferAppend, ResponseParams
from offhook.wire.ids import Ids
from offhook.wire.items import Item
from offhook.wire.own import OwnParams
from offhook.wire.server_events import ServerEvent
from offhook.wire.session import Session
from offhook.wire.transcription import TranscriptionEvent

# Responses outside the conversation may run side by side; each holds a request to a model.
MAX_PARALLEL_RESPONSES = 8


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
        own: OwnParams | None | UnsetType = UNSET,
        door: Callable[[Engine], Door] = TelephoneDoor,
    ) -> None:
        self.session = session
        self.options = options
        self.ids = ids
        self.conversation = Conversation(ids.conversation())
        self.has_spoken = False
        self.model_named = model_named
        self._began = now
        self._now = now
        self._out: list[Output] = []
        self.turns = Turns(self)
        self._playout = Playout()
        self.door = door(self)
        self._responses: dict[int, Response] = {}
        self._spoken: dict[str, Response] = {}
        self._default: Response | None = None
        self._runs = 0
        self._turn_waits = False
        self._window = ContextWindow(
            context_tokens=options.context_tokens,
            output_tokens=options.output_tokens,
            reads_words=options.needs_transcripts,
            heard_ms=self.conversation.heard_ms,
        )
        self._budget = TokenBudget(options.tokens_per_minute)
        self._answered_once = False
        self._client = ClientRequests(self)
        self.transcripts = Transcripts(self)
        self._pending = PendingRequests(self)
        self.semantic = SemanticTurns(self)
        self._partials = Partials(self)
        self._silence = Silence(self)
        self.waiting = Waiting(self, own)
        self.produced = Produced(self, self._window, self._playout)
        self.tools = ToolBox(self)

    # -- driving

    def start(self) -> list[Output]:
        """Return what has to be done when the session begins."""
        self._out = []
        self.door.enter()
        wanted = self.session.audio.input
        self.emit(do.ConfigureTurns(wanted.turn_detection))
        if wanted.noise_reduction is not None:
            self.emit(do.ReduceNoise(wanted.noise_reduction))
        self.tools.discover(self.session.tools)
        self.waiting.speak_first()
        self.waiting.watch(self._now, self._playout, speaks=False)
        return self._out

    def handle(self, event: Input, now: float) -> list[Output]:
        """Take what happened; return what to do, in order. Never raises for anything a remote party did."""
        self._now = now
        self._out = []
        self._HANDLERS[type(event)](self, event)
        if type(event) is happened.ClientSent and type(event.event) is InputAudioBufferAppend:
            return self._out  # Most of what happens, and nothing below looks at it.
        for item_id in self.conversation.take_evicted():
            self.forget_item(item_id)
        if self._turn_waits and self._default is None:
            self.create_response(None)
        self._partials.watch()
        self._silence.watch()
        self.waiting.watch(now, self._playout, speaks=self.turns.speaks)
        return self._out

    def next_deadline(self) -> float | None:
        """Return when ``DeadlinePassed`` is due, if nothing else happens before."""
        return earliest(
            self._playout.deadline(),
            self._silence.deadline(),
            self.semantic.deadline(),
            self._partials.deadline(),
            self.waiting.deadline(),
        )

    def close(self, now: float) -> list[Output]:
        """End the session with its call: responses in progress are cancelled, so that every one has an end."""
        self._now = now
        self._out = []
        for response in list(self._responses.values()):
            self.emit(do.CancelGeneration(response.run))
            self.end_response(response, Cancelled("client_cancelled"))
        self.tools.close()
        return self._out

    def take_apart(self) -> None:
        """Let go of everything; the session is over, and nothing may be asked of it any more.

        The parts know each other: as a whole they would wait for a collection of garbage, and a sixth of a short call's
        processor time went into those.
        """
        vars(self).clear()

    @property
    def now(self) -> float:
        """The time of what happens now."""
        return self._now

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the session began."""
        return round((self._now - self._began) * 1000)

    @property
    def input_ms(self) -> int:
        """Milliseconds of input audio since the session began."""
        return self.door.input_ms

    def emit(self, output: Output) -> None:
        """Add a command to what ``handle`` returns."""
        self._out.append(output)

    def send(self, event: ServerEvent | ev.SentAudioDelta | TranscriptionEvent) -> None:
        """Send an event to every socket."""
        self._out.append(do.Send(event))

    def send_all(self, events: Iterable[ServerEvent]) -> None:
        """Send events to every socket."""
        self._out.extend(map(do.Send, events))

    # -- items, and the caller's turns

    def add_item(self, item: Item, after: str | None = None) -> None:
        """Put a finished item into the conversation and announce it. Raises ApiProblem when it cannot be there."""
        previous_id = self.conversation.append(item) if after is None else self.conversation.insert(item, after)
        self.send(ev.ConversationItemAdded(event_id=self.ids.event(), previous_item_id=previous_id, item=item))
        self.send(ev.ConversationItemDone(event_id=self.ids.event(), previous_item_id=previous_id, item=item))

    def answer_turn(self) -> None:
        """Respond to a turn now, or as soon as the response before it has ended."""
        if self._default is not None:
            self._turn_waits = True
        else:
            self.create_response(None)

    # -- time passes

    def _deadline_passed(self, _: happened.DeadlinePassed) -> None:
        stop_deadline = self._playout.deadline()
        if stop_deadline is not None and self._now >= stop_deadline:
            self._finish_stop()
        self._silence.pass_deadline()
        self.semantic.pass_deadline()
        self._partials.pass_deadline()
        self.waiting.pass_deadline(self._now)

    @property
    def is_quiet(self) -> bool:
        """Whether neither side speaks, after an answer was played."""
        return self._answered_once and not (self._responses or self._playout.busy or self.turns.speaks)

    # -- responses

    @property
    def active_response(self) -> Response | None:
        """The response of the conversation that is in progress."""
        return self._default

    @property
    def responses(self) -> list[Response]:
        """All responses in progress, those out of band too."""
        return list(self._responses.values())

    def create_response(self, params: ResponseParams | None, *, verbatim: str = "") -> None:
        """Begin a response, of the model or of given words.

        Raises ApiProblem when one is active already, or its input names what does not exist.
        """
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
        settings = response_settings(
            self.session, params, voice_locked=self.has_spoken, formats_given=self.door.formats_given
        )
        run = self.new_run()
        conversation = None if out_of_band else self.conversation
        response = Response(run, settings, conversation, self.ids, keeps_open=not self.door.plays)
        request = generation_request(self.session, params, response, items)
        whole = params is None or params.input is UNSET
        self.tools.discover((params and params.tools) or (), of_response=True)
        request = self.tools.show(request)
        self._window.ask(request, self.session.truncation, whole=whole)
        request = replace(request, verbatim=verbatim, apology=self.waiting.own.apology)
        self._responses[run] = response
        if not out_of_band:
            self._default = response
            self._turn_waits = False
            self.waiting.response_began()
        self.send_all(response.open())
        if self._budget.exhausted(self._now):
            message = f"Rate limit reached: {self.options.tokens_per_minute} tokens per minute."
            self.end_response(response, Failed("rate_limit_error", "rate_limit_exceeded", message))
            return
        unsettled = self._playout.unsettled
        if self.options.needs_transcripts:
            unsettled.update(self.transcripts.expected)
        if not self._pending.hold(request, unsettled):
            self.generate(request)

    def new_run(self) -> int:
        """Return the number of another response."""
        self._runs += 1
        return self._runs

    def generate(self, request: do.Generate) -> None:
        """Ask the model, with what fits of the context."""
        fitted = self._window.fit(request)
        if isinstance(fitted, TooLong):
            ending = Failed("invalid_request_error", "context_length_exceeded", fitted.message)
            self.end_response(self._responses[request.run], ending, ev.Usage())
        else:
            self.emit(replace(fitted, items=as_model_reads(fitted.items)))

    def end_response(self, response: Response, ending: Ending, usage: ev.Usage | None = None) -> None:
        """Close a response and account for it."""
        if response.closed:
            return
        run = response.run
        usage = self._window.close(response, usage)
        self.door.finish(response, whole=isinstance(ending, Completed | Incomplete))
        self.tell_end(response, ending, usage)
        if run in self._playout.runs:
            self.emit(do.FinishPlayout(run))
        del self._responses[run]
        self._pending.release(run)
        if not response.out_of_band:
            self._spoken |= {m.item_id: response for m in response.spoken if m.item_id in self.conversation}
        if response is self._default:
            self._default = None
            self._answered_once = True
            self.waiting.response_ended(response, completed=isinstance(ending, Completed))
        self.tools.response_ended(response)

    def tell_end(self, response: Response, ending: Ending, usage: ev.Usage) -> None:
        """Close a response for the clients, and count its tokens."""
        self.send_all(response.close(ending, usage))
        self._budget.spend(usage.total_tokens, self._now)
        self.send(ev.RateLimitsUpdated(event_id=self.ids.event(), rate_limits=(self._budget.state(self._now),)))

    def cancel_response(self, response: Response) -> None:
        """Stop generating. What is queued already still plays: ``output_audio_buffer.clear`` stops that."""
        self.emit(do.CancelGeneration(response.run))
        self.end_response(response, Cancelled("client_cancelled"))

    # -- from the model

    def response_of(self, run: int) -> Response | None:
        """Return a response that still takes what its model produces."""
        response = self._responses.get(run)
        if response is None or self._playout.is_cancelling(response):
            return None
        return response

    def _model_produced(self, event: ModelInput) -> None:
        self.produced.take(event)

    def play(self, response: Response, event: happened.AudioProduced) -> None:
        """Queue a piece of an answer behind what is playing."""
        self._playout.queue(response)
        self.emit(do.Play(event.run, event.pcm, event.rate_hz))

    # -- what is played, and the stopping of it

    @property
    def agent_speaks(self) -> bool:
        """Whether the agent speaks, or is about to."""
        return bool(self._playout.runs) or self._default is not None

    @property
    def unsaid_ms(self) -> float:
        """How much longer the agent will speak; nobody knows while the model goes on."""
        return self._playout.left_ms if self._default is None else inf

    def interrupt(self) -> None:
        """The caller takes the word: stop generating and playing."""
        self._turn_waits = False
        self.door.interrupt()
        active = self._default
        if active is not None and not self._playout.is_cancelling(active):
            self.emit(do.CancelGeneration(active.run))
        if self._playout.busy:
            self._stop(active)
        elif active is not None and self.door.plays:
            self._cut(active, 0.0, ends=True)
        elif active is not None:
            # Only the client knows what was heard, and truncates the item itself.
            self.end_response(active, Cancelled("turn_detected"))

    def stop_playout(self) -> None:
        """Drop what is queued; what was really heard is known a tick later."""
        self.waiting.hush()
        if self._playout.runs:
            self._stop(None)

    def _stop(self, cancels: Response | None) -> None:
        if self._playout.runs:
            self.emit(do.StopPlayout())
        self._playout.stop(self._now, cancels)

    def _playout_started(self, event: happened.PlayoutStarted) -> None:
        queued = self._playout.find(event.run)
        if queued is not None and not queued.started:
            queued.started = True
            self.send(ev.OutputBufferStarted(event_id=self.ids.event(), response_id=queued.response.id))

    def _playout_advanced(self, event: happened.PlayoutAdvanced) -> None:
        queued = self._playout.find(event.run)
        if queued is not None:
            queued.played_ms = event.played_ms

    def _playout_finished(self, event: happened.PlayoutFinished) -> None:
        queued = self._playout.runs.pop(event.run, None)
        if queued is None:
            # It ended by itself while a stop was on its way: nothing of it was cut.
            self._report(event.run, event.played_ms)
        else:
            self.send(ev.OutputBufferStopped(event_id=self.ids.event(), response_id=queued.response.id))

    def _playout_stopped(self, event: happened.PlayoutStopped) -> None:
        self._report(event.run, event.played_ms)

    def _report(self, run: int, played_ms: int) -> None:
        """Take what was really sent of a run that is being stopped; the last such report ends the stop."""
        state = self._playout.state
        if not isinstance(state, Stopping) or run not in state.runs:
            return
        state.runs[run].played_ms = played_ms
        state.runs[run].reported = True
        if all(queued.reported for queued in state.runs.values()):
            self._finish_stop()

    def _finish_stop(self) -> None:
        """Cut everything that was stopped at what went out of it."""
        state = self._playout.state
        if not isinstance(state, Stopping):
            return
        unsettled = self._playout.unsettled
        self._playout.state = Flowing()
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
            self.end_response(response, Cancelled("turn_detected"))
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
        self._window.forget(item_id)
        self.transcripts.forget(item_id)
        self.settle(item_id)

    def settle(self, item_id: str) -> None:
        """What an item says is known now, as far as it ever will be."""
        self._pending.settle(item_id)

    # -- what the caller said

    def _transcript_grew(self, event: happened.TranscriptGrew) -> None:
        self.transcripts.grow(event)

    def _transcript_completed(self, event: happened.TranscriptCompleted) -> None:
        self.transcripts.complete(event)

    def _transcript_failed(self, event: happened.TranscriptFailed) -> None:
        self.transcripts.fail(event)

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
        happened.VoiceStarted: lambda engine, event: engine.turns.started(event),
        happened.VoicePaused: lambda engine, event: engine.turns.paused(event),
        happened.VoiceResumed: lambda engine, _: engine.turns.resumed(),
        happened.VoiceStopped: lambda engine, event: engine.turns.stopped(event),
        happened.PauseHeard: lambda engine, event: engine.semantic.heard(event),
        happened.HeardSoFar: lambda engine, event: engine._partials.heard(event),
        happened.DigitPressed: _digit_pressed,
        happened.PlayoutStarted: _playout_started,
        happened.PlayoutAdvanced: _playout_advanced,
        happened.PlayoutFinished: _playout_finished,
        happened.PlayoutStopped: _playout_stopped,
        happened.FillerSpoken: lambda engine, event: engine.waiting.filler_spoken(event),
        happened.FillerMade: lambda engine, event: engine.waiting.filler_made(event),
        happened.FillerEnded: lambda engine, event: engine.waiting.filler_ended(event),
        happened.ModelComplained: lambda engine, event: engine.produced.complain(event),
        **dict.fromkeys(ModelInput.__args__, _model_produced),
        **dict.fromkeys(ToolInput.__args__, lambda engine, event: engine.tools.take(event)),
        happened.TranscriptGrew: _transcript_grew,
        happened.SegmentHeard: lambda engine, event: engine.transcripts.segment(event),
        happened.TranscriptCompleted: _transcript_completed,
        happened.TranscriptFailed: _transcript_failed,
        happened.DeadlinePassed: _deadline_passed,
    }
