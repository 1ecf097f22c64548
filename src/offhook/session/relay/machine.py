"""A conversation on an upstream realtime socket, as a machine: messages and wishes in, messages and facts out.

The engine stays the one who knows the conversation, tells the clients, and keeps what was heard; upstream is its model.
Turns are detected and committed here, upstream answers when it is asked to. Whatever it does not have of the
conversation is sent before it is asked, which is also how a new connection learns what was said on the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, assert_never

from msgspec.structs import replace

from offhook.session import inputs as happened
from offhook.session.outputs import Generate
from offhook.session.relay import limits, steps
from offhook.session.relay.answers import Answers
from offhook.session.relay.connection import Closed, Connecting, ConnectionState, Online, Pausing, Refused
from offhook.session.relay.dialect import Dialect, FormatName, TurnFinder, format_for
from offhook.session.relay.event import (
    Problem,
    UpstreamError,
    UpstreamEvent,
    decode_upstream,
    logprobs_of,
    metadata_for,
    problem_of,
    usage_of_words,
)
from offhook.session.relay.finding import Finding
from offhook.session.relay.history import History
from offhook.session.relay.meter import Meter
from offhook.session.relay.mirror import Mirror
from offhook.session.relay.phrase import (
    DEFAULTS,
    TURN_DETECTION,
    Members,
    left_out,
    nested,
    response_members,
    session_members,
)
from offhook.session.relay.post import ForItem, ForNobody, ForRun, ForSession, ForTurn, Post
from offhook.session.relay.reserve import Reserve, ReserveKind
from offhook.session.relay.runs import Answering, Asked, Ending, Over, Run, Runs, Waiting
from offhook.session.relay.steps import Input, Output
from offhook.session.relay.turns import Turns
from offhook.wire import server_events as ev
from offhook.wire.ids import Ids
from offhook.wire.session import AudioFormat, Session, tag_of
from offhook.wire.transcription import TranscriptionSessionUpdated

_UNREACHED: Final = "The model could not be reached."


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Who is upstream. ``model``: its name there, empty for the session's. ``patience_s``: its longest silence.

    ``turns``: who finds the caller's turns; upstream only where its dialect ``finds_turns``. ``reserve``: who is there
    for what it does not answer.
    """

    dialect: Dialect
    model: str = ""
    patience_s: float = 20.0
    turns: TurnFinder = "here"
    reserve: ReserveKind = "none"


class Relay:
    """The machine: ``handle`` takes what happened and the time (seconds, monotonic), and returns what to do."""

    def __init__(self, options: RelayOptions, session: Session, ids: Ids, now: float) -> None:
        dialect = options.dialect
        self._options = options
        self._dialect = dialect
        self._session = session
        self._now = now
        self._format_in = _format_for(dialect, session.audio.input.format)
        self._format_out = _format_for(dialect, session.audio.output.format)
        self._post = Post(ids)
        self._mirror = Mirror()
        self._runs = Runs()
        self._turns = Turns(dialect, self._format_in, self._post, self._mirror)
        self._reserve = Reserve(dialect, self._format_in, self._post, self._turns, options.reserve)
        self._meter = Meter(self._post)
        self._answers = Answers(
            dialect,
            self._format_out,
            self._post,
            self._mirror,
            self._runs,
            self._reserve,
            self._meter,
            options.patience_s,
        )
        is_wanted = options.turns == "upstream" and dialect.finds_turns
        self._finding = Finding(dialect, self._format_in, self._post, self._update_session, is_wanted=is_wanted)
        self._history = History(dialect, self._post, self._mirror, self._turns, self._finding)
        self._told: Members = {}
        self._bad_events = 0
        self._errors = 0
        self._warned: frozenset[str] = frozenset()
        self.state: ConnectionState = Connecting(0)

    # -- driving

    @property
    def awaits_words(self) -> bool:
        """Whether the words of a turn may still come."""
        return self._turns.awaited and not isinstance(self.state, Refused)

    def start(self) -> list[Output]:
        """Return what to do first."""
        return [steps.Connect(self._options.model or self._session.model)]

    def handle(self, event: Input, now: float) -> list[Output]:
        """Take what happened; return what to do, in order. Never raises for anything that upstream did."""
        self._now = now
        if isinstance(self.state, Closed):
            return []
        match event:
            case steps.UpstreamSent(text=text):
                self._upstream_sent(text)
            case steps.SpokenSoFar():
                (self._finding if self._finding.is_there else self._turns).grow(event)
            case steps.Told(event=told):
                self._told_clients(told)
            case steps.TurnSpoken() | steps.AudioGiven():
                self._spoken(event)
            case steps.Requested(request=request):
                self._requested(request)
            case steps.Cancelled(run=run):
                self._cancelled(run)
            case steps.Connected(session=session):
                self._connected(session)
            case steps.InputStands(at_ms=at_ms):
                self._finding.begin(at_ms, now)
            case steps.ConnectionLost():
                self._connection_lost(event)
            case steps.DeadlinePassed():
                self._deadline_passed()
            case _:
                assert_never(event)
        self._finding.settle(self._session.audio.input.turn_detection, is_online=isinstance(self.state, Online))
        for ended in self._runs.settle():
            self._meter.settle(ended)
        self._ask_waiting()
        return self._post.take_all()

    def next_deadline(self) -> float | None:
        """Return when ``DeadlinePassed`` is due, if nothing else happens before."""
        if isinstance(self.state, Closed):
            return None
        times = [self._runs.deadline(), self._turns.deadline(), self._finding.deadline()]
        if isinstance(self.state, Pausing):
            times.append(self.state.until)
        return min((time for time in times if time is not None), default=None)

    def close(self) -> list[Output]:
        """The conversation has ended: return what is left to do, and do nothing more."""
        self.state = Closed()
        for run in self._runs:
            run.state = Over()
            self._meter.settle(run)
        return self._post.take_all()

    def _deadline_passed(self) -> None:
        now = self._now
        if isinstance(self.state, Pausing) and now >= self.state.until:
            self.state = Connecting(self.state.attempt)
            self._post.do(steps.Connect(self._options.model or self._session.model))
        self._turns.pass_deadline(now)
        self._finding.pass_deadline(now)
        for run in self._runs:
            self._look_at_the_clock(run)

    def _look_at_the_clock(self, run: Run) -> None:
        match run.state:
            case Over():
                return
            case Ending(response_id=response_id, until=until) if self._now >= until:
                run.state = Over(response_id)
                self._answers.clean_up(run)
            case Waiting(until=until) if self._now >= until:
                is_online = isinstance(self.state, Online) and run.request.chosen
                unnamed = "The model did not tell which of its items a turn is that the response was given."
                self._fail(run, unnamed if is_online else _UNREACHED)
            case Asked(until=until) | Answering(until=until) if self._now >= until:
                self._fail(run, f"The model said nothing for {self._options.patience_s:g} seconds.")
            case _:
                pass

    def _fail(self, run: Run, message: str) -> None:
        self._answers.fail(run, "server_error", message, now=self._now)

    # -- the connection

    def _connected(self, session: Session) -> None:
        attempt = self.state.attempt if isinstance(self.state, Connecting) else 0
        self.state = Online(attempt, self._now)
        self._session = session
        self._bad_events = 0
        self._forget_upstream()
        for run in self._runs:
            if isinstance(run.state, Waiting):
                run.state = self._wait(run.state.since)
        self._update_session()
        self._ask_waiting()
        self._turns.commit_awaited()

    def _forget_upstream(self) -> None:
        self._told = {}
        self._turns.disconnected()
        self._mirror.clear()
        self._runs.forget_foreign()
        self._post.forget()

    def _connection_lost(self, lost: steps.ConnectionLost) -> None:
        was_online = was_taken = False
        match self.state:
            case Connecting(attempt=attempt):
                pass
            case Online(attempt=tried, said=said) as online:
                attempt = 0 if online.is_proven(self._now) else tried
                was_online, was_taken = True, said != "nothing"
            case _:
                return  # There was none.
        is_refused = lost.is_refused and not was_taken
        self._forget_upstream()
        for run in self._runs:
            if isinstance(run.state, Asked | Answering):
                run.state = Over()
                message = f"The connection to the model was lost: {lost.why}."
                self._reserve.fail(run, happened.GenerationFailed(run.number, "server_error", message))
            elif isinstance(run.state, Ending):
                run.state = Over()
        self._post.do(steps.Warn("upstream refused" if is_refused else "upstream lost", lost.why))
        if is_refused:
            self._refuse(f"The model's server refused the connection: {lost.why}.")
            return
        pause_s = limits.BACKOFF_S[min(attempt, len(limits.BACKOFF_S) - 1)]
        self.state = Pausing(attempt + 1, self._now + pause_s)
        for run in self._runs:
            if isinstance(run.state, Waiting) and self._is_out:
                self._fail(run, _UNREACHED)
            elif isinstance(run.state, Waiting) and was_online:
                run.state = self._wait(run.state.since)

    @property
    def _is_out(self) -> bool:
        """Whether it is so unlikely that upstream is there soon that another model answers at once."""
        is_away = isinstance(self.state, Connecting | Pausing) and self.state.attempt >= limits.HAND_OVER_ATTEMPTS
        return is_away and self._reserve.stands_in

    def _refuse(self, message: str) -> None:
        """Whoever waits for a connection waits for nothing."""
        self.state = Refused(message)
        self._reserve.hear_all(message)
        for run in self._runs:
            if isinstance(run.state, Waiting):
                self._fail(run, message)

    def _update_session(self) -> None:
        """Tell upstream what is not so there yet."""
        if not isinstance(self.state, Online):
            return
        found = self._finding.members()
        wanted = session_members(self._session, self._dialect, self._format_in, self._format_out, found)
        self._warn_of(left_out(self._session, self._dialect))
        known = DEFAULTS | self._told
        changed = {path: value for path, value in wanted.items() if path not in known or known[path] != value}
        self._told = wanted
        if changed:
            self._send_update(changed)

    def _send_update(self, members: Members) -> None:
        session: dict[str, Any] = {"type": "realtime"} if self._dialect.typed_session else {}
        self._post.send("session.update", ForSession(members), session=session | nested(members))

    def _warn_of(self, members: frozenset[str]) -> None:
        """Say once of each member of the session that it does nothing."""
        if news := members - self._warned:
            self._warned |= news
            self._post.do(steps.Warn("session members without effect upstream", ",".join(sorted(news))))

    # -- what the conversation here does

    def _told_clients(self, event: object) -> None:
        look = self._TOLD.get(type(event))
        if look is not None:
            look(self, event)

    def _session_updated(self, event: ev.SessionUpdated) -> None:
        self._session = event.session
        self._update_session()

    def _transcription_updated(self, event: TranscriptionSessionUpdated) -> None:
        shown = event.session.audio.input
        heard = replace(self._session.audio.input, format=shown.format, transcription=shown.transcription)
        audio = replace(self._session.audio, input=heard)
        self._session = replace(self._session, audio=audio, include=event.session.include)
        self._update_session()

    def _speech_started(self, event: ev.SpeechStarted) -> None:
        self._finding.told(is_speaking=True, now=self._now)
        if isinstance(self.state, Online) and not self._finding.is_there:
            self._turns.begin(event.audio_start_ms, self._now)

    def _speech_stopped(self, _: ev.SpeechStopped) -> None:
        self._finding.told(is_speaking=False, now=self._now)
        self._turns.pause()

    def _input_cleared(self, _: ev.InputCleared) -> None:
        if self._finding.is_there:
            self._post.send("input_audio_buffer.clear", ForNobody())
        self._turns.forget()

    def _spoken(self, event: steps.TurnSpoken | steps.AudioGiven) -> None:
        is_online = isinstance(self.state, Online)
        if isinstance(event, steps.TurnSpoken) and self._finding.is_there:
            self._turns.take_found(event, is_committed=self._finding.is_committed(event))
        elif isinstance(event, steps.TurnSpoken):
            self._turns.take(event, is_online=is_online)
        elif self._finding.is_there:
            self._turns.take_given(event, is_online=False)
            self._history.give(event.item_id)
        else:
            self._turns.take_given(event, is_online=is_online)
        if isinstance(self.state, Refused):
            self._reserve.hear_all(self.state.why)

    def _item_truncated(self, event: ev.ConversationItemTruncated) -> None:
        upstream_id = self._mirror.upstream_id(event.item_id)
        if upstream_id is None:
            return
        if self._dialect.truncates:
            heard_ms = min(event.audio_end_ms, self._runs.produced_ms(upstream_id))
            self._post.send(
                "conversation.item.truncate",
                ForNobody(),
                item_id=upstream_id,
                content_index=0,
                audio_end_ms=heard_ms,
            )

    def _item_deleted(self, event: ev.ConversationItemDeleted) -> None:
        upstream_id = self._mirror.upstream_id(event.item_id)
        if upstream_id is not None:
            self._delete_upstream(upstream_id)
        self._turns.drop(event.item_id)
        self._mirror.drop(event.item_id)

    def _delete_upstream(self, upstream_id: str) -> None:
        if self._dialect.deletes:
            self._post.send("conversation.item.delete", ForNobody(), item_id=upstream_id)

    def _response_done(self, event: ev.ResponseDone) -> None:
        run = self._runs.by_response(event.response.id)
        if run is not None:
            self._meter.closed(run, event.response.usage)

    _TOLD: ClassVar[dict[type, Callable[..., None]]] = {
        ev.SessionUpdated: _session_updated,
        TranscriptionSessionUpdated: _transcription_updated,
        ev.SpeechStarted: _speech_started,
        ev.SpeechStopped: _speech_stopped,
        ev.InputCleared: _input_cleared,
        ev.OutputItemAdded: lambda relay, event: relay._answers.item_announced(event),
        ev.ResponseDone: _response_done,
        ev.ConversationItemTruncated: _item_truncated,
        ev.ConversationItemDeleted: _item_deleted,
    }

    # -- responses

    def _requested(self, request: Generate) -> None:
        run = Run(request, self._wait(self._now))
        self._runs.add(run)
        if isinstance(self.state, Refused):
            self._fail(run, self.state.why)
        elif self._is_out:
            self._fail(run, _UNREACHED)
        elif request.aside and not self._dialect.parallel:
            message = f"Upstream ({self._dialect.name}) has no responses outside the conversation."
            self._answers.fail(run, "invalid_value", message, "invalid_request_error", now=self._now)

    def _wait(self, since: float) -> Waiting:
        """Return how long a response waits that is wanted since then: less for a connection if another stands in."""
        until = since + self._options.patience_s
        if self._reserve.stands_in and not isinstance(self.state, Online):
            until = min(until, self._now + limits.HAND_OVER_S)
        return Waiting(since, until)

    def _cancelled(self, number: int) -> None:
        run = self._runs.find(number)
        if run is None:
            return
        match run.state:
            case Waiting():
                run.state = Over()
            case Asked():
                run.state = Ending(None, self._now + limits.CANCEL_S)
            case Answering(response_id=response_id):
                run.state = Ending(response_id, self._now + limits.CANCEL_S)
                self._answers.cancel_upstream(response_id)
            case Ending() | Over():
                pass

    def _ask_waiting(self) -> None:
        """Ask for what was wanted, as far as upstream can be asked now."""
        if not isinstance(self.state, Online):
            return
        for run in self._runs:
            if isinstance(run.state, Waiting) and self._can_ask(run.request):
                self._ask(run)

    def _can_ask(self, request: Generate) -> bool:
        if self._runs.is_busy and not request.aside:
            return False
        return not request.chosen or self._history.can_name(request.items)

    def _ask(self, run: Run) -> None:
        self._meter.asked(run)
        request = run.request
        until = self._now + self._options.patience_s
        if not request.chosen and self._history.send(request.items):
            run.state = Asked("", until)
            return
        members = response_members(request, self._told, self._dialect)
        if request.aside:
            members["conversation"] = "none"
        if self._dialect.echoes_metadata:
            members["metadata"] = metadata_for(run.number)
        if request.chosen:
            members["input"] = self._history.chosen(request.items)
        event_id = self._post.send("response.create", ForRun(run.number), response=members)
        run.state = Asked(event_id, until)

    # -- what upstream says

    def _upstream_sent(self, text: str | bytes) -> None:
        try:
            event = decode_upstream(text)
            kind = self._dialect.aliases.get(event.type, event.type)
            if not self._answers.take(event, kind, self._now):
                look = self._UPSTREAM.get(kind)
                if look is not None:
                    look(self, event)
        except UpstreamError as failure:
            self._bad_event(failure)
            return
        self._bad_events = 0
        if isinstance(self.state, Online) and kind != "error":
            if kind == "response.done":
                self.state = replace(self.state, said="an answer")
            elif self.state.said == "nothing":
                self.state = replace(self.state, said="something")

    def _bad_event(self, failure: UpstreamError) -> None:
        self._bad_events += 1
        if self._bad_events == 1:
            self._post.do(steps.Warn("upstream sent what cannot be read", str(failure)[:200]))
        elif self._bad_events == limits.MAX_BAD_EVENTS:
            self._post.do(steps.Disconnect("it does not speak this protocol"))

    def _committed(self, event: UpstreamEvent) -> None:
        is_known = self._turn_of(event) is not None
        if event.item_id and not is_known and self._finding.is_there:
            self._delete_upstream(event.item_id)  # What upstream took for a turn was none here.

    def _turn_of(self, event: UpstreamEvent) -> str | None:
        """Return the turn that an event is about; without an id, the first one whose words are not known."""
        upstream_id = event.item_id
        if not upstream_id:
            return self._turns.first_awaited()
        is_news = not self._mirror.knows(upstream_id)
        item_id = self._mirror.turn(upstream_id)
        if is_news and item_id is not None and item_id not in self._mirror:
            # It was deleted here before upstream told what to call it there.
            self._delete_upstream(upstream_id)
        return item_id

    def _words_grew(self, event: UpstreamEvent) -> None:
        item_id = self._turn_of(event)
        if item_id is not None and event.delta:
            self._turns.hear(item_id, event.delta, logprobs_of(event))

    def _segment_told(self, event: UpstreamEvent) -> None:
        item_id = self._turn_of(event)
        if item_id is not None and event.text and event.speaker and event.start is not None and event.end is not None:
            self._turns.hear_segment(happened.SegmentHeard(item_id, event.text, event.speaker, event.start, event.end))

    def _words_completed(self, event: UpstreamEvent) -> None:
        item_id = self._turn_of(event)
        # Some send what they have heard so far by the same name.
        if item_id is not None and event.status != "in_progress":
            self._turns.complete(item_id, event.transcript or "", logprobs_of(event), usage_of_words(event))

    def _words_failed(self, event: UpstreamEvent) -> None:
        item_id = self._turn_of(event)
        if item_id is not None:
            problem = problem_of(event)
            self._turns.fail(item_id, str(problem.code or "server_error"), problem.message or "No reason was given.")

    def _errored(self, event: UpstreamEvent) -> None:
        problem = problem_of(event)
        message = problem.message or "No reason was given."
        is_told = self._errors < limits.MAX_ERRORS_TOLD
        self._errors += 1
        if is_told:
            self._post.do(steps.Warn("upstream error", f"{problem.code}: {message}"[:500]))
        match self._post.purpose(problem.event_id):
            case ForRun(run=number):
                run = self._runs.find(number)
                if run is not None:
                    self._refused_run(run, problem, message)
            case ForTurn(item_id=item_id):
                self._mirror.refuse(item_id)
                self._turns.refuse(item_id, str(problem.code or "server_error"), message)
                run = self._runs.asked() if self._dialect.commit_answers else None
                if run is not None:
                    self._refused_run(run, problem, message)
            case ForItem() as sent:
                if not self._history.refuse(sent):
                    self._turns.fail(sent.item_id, str(problem.code or "server_error"), message)
                    self._complain(problem, message, is_told=is_told)
            case ForNobody():
                pass
            case ForSession(members=members) if len(members) > 1:
                # It is refused as a whole for one of them: without the others nothing would work.
                for path, value in members.items():
                    self._send_update({path: value})
            case ForSession(members=members):
                if self._dialect.places.get(TURN_DETECTION, TURN_DETECTION) in members:
                    self._finding.refuse()
                self._complain(problem, message, is_told=is_told)
            case None if problem.is_too_late:
                pass
            case None:
                run = None if problem.is_about_others else self._runs.asked()
                if run is not None:
                    self._refused_run(run, problem, message)
                else:
                    self._complain(problem, message, is_told=is_told)

    def _refused_run(self, run: Run, problem: Problem, message: str) -> None:
        match run.state:
            case Asked():
                # It has not begun, and never will.
                self._meter.refused(run)
                run.state = Waiting(self._now, self._now)
                code, kind = str(problem.code or "server_error"), problem.type or "server_error"
                self._answers.fail(run, code, message, kind, now=self._now)
            case Ending(response_id=None):
                self._meter.refused(run)
                run.state = Over()
            case _:
                pass  # What has begun ends by itself, and is paid for.

    def _complain(self, problem: Problem, message: str, *, is_told: bool) -> None:
        code = None if problem.code is None else str(problem.code)
        if is_told:
            self._post.tell([happened.ModelComplained(code, message, problem.type or "server_error")])

    _UPSTREAM: ClassVar[dict[str, Callable[[Relay, UpstreamEvent], None]]] = {
        "error": _errored,
        "input_audio_buffer.committed": _committed,
        "input_audio_buffer.speech_started": lambda relay, event: relay._finding.started(event),
        "input_audio_buffer.speech_stopped": lambda relay, event: relay._finding.stopped(event),
        "conversation.item.input_audio_transcription.delta": _words_grew,
        "conversation.item.input_audio_transcription.segment": _segment_told,
        "conversation.item.input_audio_transcription.completed": _words_completed,
        "conversation.item.input_audio_transcription.failed": _words_failed,
    }


TOLD = frozenset(Relay._TOLD)
"""The events for clients that a relay reads; it need not be given the others."""


def _format_for(dialect: Dialect, wanted: AudioFormat) -> FormatName:
    name: Any = tag_of(wanted)
    return format_for(dialect, name)
