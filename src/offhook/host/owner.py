"""The owner of one call: the only one who changes it, and who carries out what its machines decide.

Everything that happens to a call comes in by ``take`` and is worked off at once, in order, in the event loop: no lock,
no waiting, nothing between an event and its consequences. What takes time is a task whose results come back as events.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from offhook.call import machine as telephone
from offhook.call.call import Call, Input, Output
from offhook.call.end import By, End, Result
from offhook.call.journal import Event, Head, SessionOpened, Tick, bug_name, encode_head, encode_line, output_names
from offhook.call.machine import CallInput
from offhook.call.tokens import TokenStream
from offhook.errors import ApiProblem
from offhook.host.conversing import Conversing
from offhook.host.early import EarlyEvents
from offhook.host.invitation import Invitation
from offhook.host.line import Line, LineError
from offhook.host.project import Project
from offhook.host.relaying import converse
from offhook.host.services import Services
from offhook.host.sideband import Closing, Sideband
from offhook.host.socket_session import expired_reason
from offhook.host.watching import Watch
from offhook.model.metering import Used
from offhook.net.alarm import Alarm
from offhook.session import inputs as talk
from offhook.session.settings import without_effect
from offhook.telemetry.trace import Span
from offhook.webhook.delivery import Attempt, Message
from offhook.wire import limits
from offhook.wire.calls import IncomingCall, RealtimeCallIncoming
from offhook.wire.decode import decode_client_event, event_id_of
from offhook.wire.ids import Ids
from offhook.wire.server_events import ErrorDetails, ErrorEvent, encode_event
from offhook.wire.session import Session, SessionParams

if TYPE_CHECKING:
    from offhook.host.directory import Directory

# How long the last transcripts may take after the end of a call; recognisers need a second or two.
LAST_WORDS_S: Final = 5.0


class CallOwner:
    """One call with everything that belongs to it: leg, line, conversation, sockets, tasks."""

    def __init__(self, call: Call, project: Project, invitation: Invitation, directory: Directory) -> None:
        services = directory.services
        self.call = call
        self.project = project
        self.invitation = invitation
        self.log = services.log.bind(call_id=call.id)
        self.line: Line | None = None
        self.refer: telephone.Refer | None = None
        self._services: Services = services
        # A stream of its own: what the machines did not ask for must not move their ids, or a replay makes others.
        self._ids = Ids(TokenStream(b"outside" + call.seed))
        self._directory = directory
        self._conversing: Conversing | None = converse(self, services)
        epoch_s = services.wall_s() - services.clock()
        names = {"call_id": call.id, "project": project.id}
        self._watch = Watch(services.metrics, seed=call.seed, epoch_s=epoch_s, prices=services.prices, **names)
        self._inbox: deque[Input | Tick] = deque()
        self._working = False
        self._replies: dict[int, ApiProblem | None] = {}
        self._reply_count = 0
        self._sidebands: dict[int, Sideband] = {}
        self._sideband_count = 0
        self._early = EarlyEvents()
        self._alarm = Alarm(lambda: self.take(Tick()), services.clock)
        self._came_in_s = services.wall_s()
        self._answered_s: float | None = None
        self._ended_s: float | None = None
        self._webhook: list[dict[str, Any]] = []
        self._held = False
        self._journal = None
        if services.store is not None:
            options = services.options
            head = Head(call.id, call.seed, call.began, options.call, options.engine)
            self._journal = services.store.open_journal(call.id, encode_head(head))

    # -- for the routes

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self.call.end is not None

    @property
    def session(self) -> Session | None:
        """The session, once the call is answered."""
        return None if self.call.engine is None else self.call.engine.session

    def ask(self, make: Callable[[int], CallInput]) -> ApiProblem | None:
        """Do an action of the application; None is success."""
        self._reply_count += 1
        number = self._reply_count
        self.take(make(number))
        return self._replies.pop(number)

    def attach(self, *, own_events: bool) -> Sideband:
        """Add a socket; it hears everything from now on. Raises ApiProblem when there are too many."""
        if len(self._sidebands) >= limits.MAX_SIDEBANDS_PER_CALL:
            message = f"{limits.MAX_SIDEBANDS_PER_CALL} sockets are attached to this call, which is the limit."
            raise ApiProblem(429, "rate_limit_exceeded", message)
        self._sideband_count += 1
        readers = self._directory.readers(self.project)
        sideband = Sideband(self._sideband_count, own_events=own_events, readers=readers, log=self.log)
        self._sidebands[sideband.number] = sideband
        return sideband

    def detach(self, sideband: Sideband) -> None:
        """Remove a socket. The call goes on without it."""
        self._sidebands.pop(sideband.number, None)
        sideband.leave()

    def hear_client(self, sideband: Sideband, text: str | bytes) -> None:
        """Take what a client sent on its socket."""
        event: Input
        try:
            asked = self._services.preparing.event(decode_client_event(text), self.project.id)
            event = talk.ClientSent(asked, sideband.number)
        except ApiProblem as problem:
            event = talk.ClientErred(problem.code, problem.message, problem.param, event_id_of(text), sideband.number)
        if self.call.engine is None and not self.ended:
            # The call still rings: what clients say waits for the session.
            self._hear_early(sideband, event, text)
        else:
            self.take(event)

    def _hear_early(self, sideband: Sideband, event: Input, text: str | bytes) -> None:
        size_bytes = len(text.encode("utf-8", "replace") if isinstance(text, str) else text)
        if self._early.put(event, size_bytes):
            return
        if self._early.refused == 1:
            self.log.warning("client events refused: the call is not answered yet", size_bytes=size_bytes)
        message = "The call is not answered yet, and no more can wait for its session. Send this again when it is."
        details = ErrorDetails(
            type="invalid_request_error", code="rate_limit_exceeded", message=message, event_id=event_id_of(text)
        )
        sideband.put(encode_event(ErrorEvent(event_id=self._ids.event(), error=details)))

    def record(self) -> dict[str, Any]:
        """Return what is known of the call, for people and for the store."""
        end = self.call.end
        refer = self.refer
        return {
            "object": "offhook.call",
            "id": self.call.id,
            "project": self.project.id,
            "state": type(self.call.machine.state).__name__.lower(),
            "on_hold": self.line is not None and self.line.held,
            "came_in_at": self._came_in_s,
            "answered_at": self._answered_s,
            "ended_at": self._ended_s,
            "end": None if end is None else _shown_end(end),
            "refer": None if refer is None else _shown_refer(refer),
            "webhook": self._webhook,
            "usage": self._watch.usage_shown(),
            "cost": self._watch.cost.shown(),
            "early_events_refused": self._early.refused,
        }

    @property
    def spans(self) -> Sequence[Span]:
        """The trace so far, when the session wants one."""
        return self._watch.spans

    # -- the loop

    def start(self) -> None:
        """Begin with a call that somebody outside decides about."""
        self._perform_all(self.call.start())
        self._alarm.set(self.call.next_deadline())

    def take(self, event: Input | Tick) -> None:
        """Take what happened, and do what follows from it."""
        self._inbox.append(event)
        if self._working:
            return
        self._working = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                self._do(event, self._services.clock())
        finally:
            self._working = False
        self._alarm.set(self.call.next_deadline())

    def _do(self, event: Input | Tick, now: float) -> None:
        try:
            outputs = self.call.pass_deadline(now) if isinstance(event, Tick) else self.call.handle(event, now)
        except Exception as bug:  # this call survives it or ends; the others never hear of it
            self._write(now, event, bug_name(bug))
            self._survive(bug, event)
            return
        if self._journal is not None:
            self._write(now, event, output_names(outputs))
        try:
            # First: the last output of a call saves what was seen of it.
            self._watch.see(event, outputs, now)
            self._perform_all(outputs)
        except Exception as bug:  # as above
            self._survive(bug, event)

    def _write(self, now: float, event: Event, names: tuple[str, ...]) -> None:
        if self._journal is not None:
            self._journal.write(encode_line(now, event, names))

    def _survive(self, bug: Exception, event: Event) -> None:
        """End a call that met a bug; only this one pays for it."""
        self.log.error("call failed by a bug", failure=bug, event=type(event).__name__)
        if isinstance(event, telephone.BugFound):
            self._close_everything(End(Result.FAILED, By.SERVER, "bug"))
        else:
            self._inbox.appendleft(telephone.BugFound(type(bug).__name__))

    def _perform_all(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            self._perform(output)

    def _perform(self, output: Output) -> None:
        match output:
            case telephone.Announce():
                self._announce()
            case telephone.AnswerLeg(params=params):
                self._answer(params)
            case telephone.RejectLeg(status=status):
                self._directory.telephone.reject(self.invitation.leg, status)
            case telephone.HangUpLeg(reason=reason):
                self._directory.telephone.hang_up(self.invitation.leg, reason)
            case telephone.SendRefer(target=target):
                self._directory.telephone.refer(self.invitation.leg, target)
            case telephone.ReportRefer(refer=refer):
                self._report_refer(refer)
            case telephone.Reply(reply=reply, problem=problem):
                if reply:
                    self._replies[reply] = problem
            case telephone.Finish(end=end):
                self._close_everything(end)
            case _ if self._conversing is not None:
                self._conversing.perform(output)

    # -- ringing

    def _announce(self) -> None:
        self._directory.telephone.ring(self.invitation.leg)
        endpoint = self.project.endpoint
        if endpoint is None:
            self.log.warning("no webhook is configured; accept the call by its id", project=self.project.id)
            return
        ids = self._ids
        payload = RealtimeCallIncoming(
            id=ids.webhook_event(),
            created_at=int(self._services.wall_s()),
            data=IncomingCall(call_id=self.call.id, sip_headers=self.invitation.headers(), sip_media_security="rtp"),
        )
        message = Message(ids.webhook(), msgspec.json.encode(payload))
        self._services.webhooks.submit(endpoint, message, self.log, wanted=self._is_ringing, tell=self._tried)

    def _is_ringing(self) -> bool:
        return isinstance(self.call.machine.state, telephone.Ringing)

    def _tried(self, attempt: Attempt) -> None:
        self._webhook.append({"attempt": attempt.number, "status": attempt.status, "failed": attempt.why})

    # -- answering

    def _answer(self, params: SessionParams) -> None:
        services = self._services
        try:
            line = self._directory.lines.open(self)
        except LineError as failure:
            self.take(telephone.AnswerFailed(failure.status, failure.detail))
            return
        self.line = line
        # The caller first: the session is there before anything else of this call is looked at.
        self._directory.telephone.answer(self.invitation.leg, line.description)
        if not line.echoes:
            self._open_session(params, line)
        self.take(telephone.LegAnswered())
        self._answered_s = services.wall_s()
        self.log.info("call answered", codec=line.codec, model=params.model or None)
        can = services.backend.capabilities
        if ignored := without_effect(params, reasons=can.reasons, tells_speakers=can.tells_speakers):
            self.log.warning("session members without effect", members=",".join(ignored))
        for event in self._early.take_all():
            self.take(event)

    def _open_session(self, params: SessionParams, line: Line) -> None:
        now, expires_at = self._services.clock(), self._expires_at()
        options = self._services.options.engine
        outputs = self.call.open_session(
            params, audio_format=line.audio_format, expires_at=expires_at, options=options, now=now
        )
        if self._journal is not None:
            self._write(now, SessionOpened(params, line.audio_format, expires_at), output_names(outputs))
        self._perform_all(outputs)
        assert self.call.engine is not None
        self._watch.open(self.call.engine.session, outputs, now)

    def _expires_at(self) -> int:
        session_s = self._services.options.call.session_s
        return int(self._services.wall_s() + session_s) if session_s else 0

    def held_or_resumed(self) -> None:
        """Tell those who asked for it whether the caller is on hold now."""
        line = self.line
        if line is not None and line.held is not self._held:
            self._held = line.held
            self.log.info("caller on hold" if line.held else "caller back")
            self.tell_own("offhook.call.hold", call_id=self.call.id, on_hold=line.held)

    def note_use(self, used: Used) -> None:
        """Take down what a model did; of an answer that the end cut, that is known after the end."""
        self._watch.cost.add(used)
        if self._ended_s is not None and self._services.prices:
            self._save()
            self._directory.update(self)

    def bill_parts(self, item_id: str) -> None:
        """The words of a turn are the work of parts that tell it themselves."""
        self._watch.bill_parts(item_id)

    def bill_stand_in(self, run: int, name: str) -> None:
        """A response is the work of another backend than the one that was asked."""
        self._watch.bill_stand_in(run, name)

    def finish_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something of a call that has ended come to its own end."""
        self._directory.part_with(work)

    # -- telling

    def broadcast(self, text: bytes) -> None:
        """Send an event to every socket."""
        for sideband in self._sidebands.values():
            sideband.put(text)

    def send_to(self, number: int, text: bytes) -> None:
        """Send an event to one socket, if it is still there."""
        sideband = self._sidebands.get(number)
        if sideband is not None:
            sideband.put(text)

    def tell_own(self, type_: str, **members: Any) -> None:
        """Send an event of our own to the sockets that asked for such."""
        listening = [sideband for sideband in self._sidebands.values() if sideband.own_events]
        if not listening:
            return
        event = {"type": type_, "event_id": self._ids.event(), **members}
        text = msgspec.json.encode(event)
        for sideband in listening:
            sideband.put(text)

    def _report_refer(self, refer: telephone.Refer) -> None:
        self.refer = refer
        shown = _shown_refer(refer)
        self.log.info("transfer", status=refer.status, detail=refer.detail, final=refer.final, pii_target=refer.target)
        self.tell_own("offhook.refer.updated", call_id=self.call.id, refer=shown)

    # -- the end

    def _close_everything(self, end: End) -> None:
        services = self._services
        self._ended_s = services.wall_s()
        self._alarm.cancel()
        self._early.take_all()
        conversing = self._conversing
        if conversing is not None:
            conversing.stop_speaking()
        if self.line is not None:
            self.line.close()
        self.tell_own("offhook.call.ended", call_id=self.call.id, end=_shown_end(end))
        seconds = None if self._answered_s is None else round(self._ended_s - self._answered_s, 3)
        self.log.info(
            "call ended",
            result=end.result,
            by=end.by,
            reason=end.reason,
            sip_status=end.sip_status,
            detail=end.detail or None,
            seconds=seconds,
            cost=self._watch.cost.total,
            currency=services.prices.currency or None,
        )
        services.metrics.count("offhook_calls_total", result=end.result)
        self._watch.stop(services.clock())
        self._save()
        self._directory.ended(self)
        if self._sidebands and conversing is not None and conversing.hearing:
            self._directory.part_with(self._hear_last_words(conversing, end))
        else:
            self._let_go(end)

    async def _hear_last_words(self, conversing: Conversing, end: End) -> None:
        """Let what the caller said last be transcribed and told, before the sockets are closed."""
        try:
            if hearing := conversing.hearing:  # It may have ended before this began.
                await asyncio.wait(hearing, timeout=LAST_WORDS_S)
        finally:
            self._save()
            self._directory.update(self)
            self._let_go(end)

    def _save(self) -> None:
        if self._services.store is not None:
            self._services.store.save(self.record())

    def _let_go(self, end: End) -> None:
        if self._conversing is not None:
            self._conversing.close()
        if spans := self._watch.close(self._services.clock()):
            for sink in self._services.span_sinks:
                sink.save_spans(self.call.id, spans)
        for sideband in self._sidebands.values():
            if end.reason == "session_expired":
                sideband.close(Closing(1001, expired_reason(self._services.options.call.session_s)))
            else:
                sideband.close(Closing(1000, end.reason))
        if self._journal is not None:
            # What still comes in, such as the stop of the playout, no longer belongs to the call.
            self._journal.close()
            self._journal = None
        # Who knew this call is not known by it any more: so it is gone with its last task, without a collection.
        self._conversing = None
        self._alarm.retire()
        self.call.forget_conversation()


def _shown_end(end: End) -> dict[str, Any]:
    return {
        "result": str(end.result),
        "by": str(end.by),
        "reason": end.reason,
        "sip_status": end.sip_status,
        "detail": end.detail or None,
    }


def _shown_refer(refer: telephone.Refer) -> dict[str, Any]:
    return {"target_uri": refer.target, "status": refer.status, "detail": refer.detail or None, "final": refer.final}
