"""The life of one call: ringing -> answering -> answered -> ended.

Actions of the application come with a ``reply`` number, and every one of them gets exactly one ``Reply``. An action
that arrives twice does no harm: SDKs retry what they got no answer to. Source: API reference, "Calls".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import msgspec
from msgspec.structs import replace

from offhook.call.end import By, End, Result
from offhook.errors import ApiProblem
from offhook.wire.session import SessionParams

# -- what happens


class AcceptAsked(msgspec.Struct, frozen=True):
    """The application accepts. ``body`` is the request as it came, to know a repetition by."""

    params: SessionParams
    body: bytes
    reply: int


class RejectAsked(msgspec.Struct, frozen=True):
    """The application rejects. ``retried``: the client says that it sent this before."""

    status: int
    reply: int
    retried: bool = False


class ReferAsked(msgspec.Struct, frozen=True):
    """The application transfers the caller."""

    target: str
    reply: int


class HangUpAsked(msgspec.Struct, frozen=True):
    """The application hangs up."""

    reply: int
    retried: bool = False


class LegAnswered(msgspec.Struct, frozen=True):
    """The 200 OK was handed to the SIP transaction."""


class AnswerFailed(msgspec.Struct, frozen=True):
    """The call could not be answered; the caller is refused with ``status``."""

    status: int
    detail: str


class CallerCancelled(msgspec.Struct, frozen=True):
    """The caller gave up while it rang."""


class CallerHungUp(msgspec.Struct, frozen=True):
    """The caller's BYE, with its Reason header if it had one."""

    detail: str = ""


class LegLost(msgspec.Struct, frozen=True):
    """The telephone side failed: no ACK, no transport, no dialog on the other side."""

    reason: str
    detail: str


class MediaLost(msgspec.Struct, frozen=True):
    """No RTP came in for so long."""

    after_s: float


class ReferMoved(msgspec.Struct, frozen=True):
    """The other side answered our REFER, or reported on it. ``final``: nothing more will come.

    ``status`` is a SIP status, None when there was none (time-out).
    """

    status: int | None
    detail: str
    final: bool


class DrainBegan(msgspec.Struct, frozen=True):
    """The server stops: calls may go on until then."""

    until: float


class BugFound(msgspec.Struct, frozen=True):
    """An invariant of ours broke in this call; it ends, and the others go on."""

    detail: str


class DeadlinePassed(msgspec.Struct, frozen=True):
    """The time that ``next_deadline`` named has come."""


CallInput = (
    AcceptAsked
    | RejectAsked
    | ReferAsked
    | HangUpAsked
    | LegAnswered
    | AnswerFailed
    | CallerCancelled
    | CallerHungUp
    | LegLost
    | MediaLost
    | ReferMoved
    | DrainBegan
    | BugFound
    | DeadlinePassed
)

# -- what has to be done


class Announce(msgspec.Struct, frozen=True):
    """Tell the application and let the caller hear that it rings."""


class AnswerLeg(msgspec.Struct, frozen=True):
    """Open the media, begin the session, send 200 OK; then say ``LegAnswered`` or ``AnswerFailed``."""

    params: SessionParams


class RejectLeg(msgspec.Struct, frozen=True):
    """Refuse the caller."""

    status: int


class HangUpLeg(msgspec.Struct, frozen=True):
    """Send BYE."""

    reason: str


class SendRefer(msgspec.Struct, frozen=True):
    """Send REFER."""

    target: str


class ReportRefer(msgspec.Struct, frozen=True):
    """A transfer moved: for the log, the call's record and opt-in events."""

    refer: Refer


class Reply(msgspec.Struct, frozen=True):
    """Answer an action: None is 200."""

    reply: int
    problem: ApiProblem | None = None


class Finish(msgspec.Struct, frozen=True):
    """The call is over: close what belongs to it."""

    end: End


CallOutput = Announce | AnswerLeg | RejectLeg | HangUpLeg | SendRefer | ReportRefer | Reply | Finish

# -- where it is


class Refer(msgspec.Struct, frozen=True):
    """A transfer: its target, and what was last heard of it. ``status`` None in the end: nobody tells the outcome.

    ``accepted``: the other side took it on.
    """

    target: str
    status: int | None = None
    detail: str = ""
    final: bool = False
    accepted: bool = False

    def moved(self, status: int | None, detail: str, *, final: bool) -> Refer:
        """Return the transfer with what was heard of it now."""
        accepted = self.accepted or (not final and status is not None and status < 300)
        return Refer(self.target, status, detail, final, accepted)

    @property
    def may_take_over(self) -> bool:
        """Whether a BYE of the other side is the transfer: it was taken on, and nobody said that it failed."""
        return self.accepted and not (self.final and self.status is not None)

    @property
    def succeeded(self) -> bool:
        """Whether the target took the caller."""
        return self.final and self.status is not None and 200 <= self.status < 300


class Ringing(msgspec.Struct, frozen=True):
    """Somebody has to decide until ``rings_out_at``. ``stops_at``: when the server ends what is left; None: it runs."""

    rings_out_at: float
    stops_at: float | None = None

    @property
    def until(self) -> float:
        """When it is over without a decision."""
        return self.rings_out_at if self.stops_at is None else min(self.rings_out_at, self.stops_at)


class Answering(msgspec.Struct, frozen=True):
    """An accept is being carried out."""

    body: bytes
    reply: int
    stops_at: float | None = None


class Answered(msgspec.Struct, frozen=True):
    """The call stands. ``body`` is the accept that made it, ``expires_at`` its cap, ``stops_at`` as while it rang."""

    body: bytes
    expires_at: float | None
    stops_at: float | None = None
    refer: Refer | None = None

    @property
    def until(self) -> float | None:
        """When it is ended by us; None: never."""
        if self.stops_at is None or self.expires_at is None:
            return self.expires_at if self.stops_at is None else self.stops_at
        return min(self.expires_at, self.stops_at)

    @property
    def ends_as(self) -> str:
        """Why it is ended then."""
        return "session_expired" if self.until == self.expires_at else "server_stopped"


class Ended(msgspec.Struct, frozen=True):
    """The call is over. ``by_action`` is the action that ended it, to know its repetition by."""

    end: End
    by_action: str | None = None


State = Ringing | Answering | Answered | Ended


class CallOptions(msgspec.Struct, frozen=True):
    """``ring_s``: how long it rings; then the caller gets ``ring_out_status``. ``session_s``: 0 is without limit."""

    ring_s: float = 30.0
    ring_out_status: int = 480
    session_s: float = 3600.0


NOT_FOUND = ApiProblem(404, "call_id_not_found", "No session found for the provided call_id", param="")


class CallMachine:
    """One call. ``handle`` takes what happened and the time, and returns what to do, in order."""

    def __init__(self, options: CallOptions, now: float) -> None:
        self._options = options
        self.state: State = Ringing(now + options.ring_s)

    @property
    def end(self) -> End | None:
        """How the call ended; None while it goes on."""
        return self.state.end if isinstance(self.state, Ended) else None

    @property
    def refer(self) -> Refer | None:
        """The last transfer that was tried."""
        return self.state.refer if isinstance(self.state, Answered) else None

    def start(self) -> list[CallOutput]:
        """Return what to do with a call that has just come in and that the application decides about."""
        return [Announce()]

    def next_deadline(self) -> float | None:
        """Return when ``DeadlinePassed`` is due."""
        match self.state:
            case Ringing(until=until):
                return until
            case Answered(until=until_or_none):
                return until_or_none
            case Answering() | Ended():
                return None
            case _:
                assert_never(self.state)

    def handle(self, event: CallInput, now: float) -> list[CallOutput]:
        """Take what happened; return what to do."""
        match self.state:
            case Ringing() as state:
                return list(self._ringing(state, event, now))
            case Answering() as state:
                return list(self._answering(state, event, now))
            case Answered() as state:
                return list(self._answered(state, event, now))
            case Ended() as state:
                return list(self._ended(state, event))
            case _:
                assert_never(self.state)

    # -- ringing

    def _ringing(self, state: Ringing, event: CallInput, now: float) -> Iterator[CallOutput]:
        match event:
            case AcceptAsked(params=params, body=body, reply=reply):
                self.state = Answering(body, reply, state.stops_at)
                yield AnswerLeg(params)
            case RejectAsked(status=status, reply=reply):
                end = End(Result.REJECTED, By.APPLICATION, "rejected", status)
                yield from self._refuse(end, f"reject {status}")
                yield Reply(reply)
            case HangUpAsked(reply=reply):
                end = End(Result.REJECTED, By.APPLICATION, "hung_up_while_ringing", 603)
                yield from self._refuse(end, "hangup")
                yield Reply(reply)
            case ReferAsked(reply=reply):
                message = "The call has to be accepted before it can be referred."
                yield Reply(reply, ApiProblem(400, "call_not_accepted", message))
            case CallerCancelled():
                yield from self._finish(End(Result.CANCELLED, By.CALLER, "caller_cancelled", 487))
            case CallerHungUp(detail=detail):
                yield from self._finish(End(Result.CANCELLED, By.CALLER, "caller_hung_up", None, detail))
            case LegLost(reason=reason, detail=detail):
                yield from self._finish(End(Result.FAILED, By.SERVER, reason, None, detail))
            case BugFound(detail=detail):
                yield from self._refuse(End(Result.FAILED, By.SERVER, "bug", 500, detail))
            case DrainBegan(until=until):
                self.state = replace(state, stops_at=_sooner(state.stops_at, until))
            case DeadlinePassed() if now >= state.rings_out_at:
                status = self._options.ring_out_status
                detail = f"nobody accepted within {self._options.ring_s:g} s"
                yield from self._refuse(End(Result.UNANSWERED, By.SERVER, "ring_timeout", status, detail))
            case DeadlinePassed() if now >= state.until:
                status = self._options.ring_out_status
                yield from self._refuse(End(Result.UNANSWERED, By.SERVER, "server_stopped", status))
            case LegAnswered() | AnswerFailed() | MediaLost() | ReferMoved() | DeadlinePassed():
                pass
            case _:
                assert_never(event)

    def _refuse(self, end: End, by_action: str | None = None) -> Iterator[CallOutput]:
        yield RejectLeg(end.sip_status or 603)
        yield from self._finish(end, by_action)

    def _finish(self, end: End, by_action: str | None = None) -> Iterator[CallOutput]:
        self.state = Ended(end, by_action)
        yield Finish(end)

    # -- answering: the driver carries it out at once, so nothing else comes between

    def _answering(self, state: Answering, event: CallInput, now: float) -> Iterator[CallOutput]:
        match event:
            case LegAnswered():
                session_s = self._options.session_s
                self.state = Answered(state.body, now + session_s if session_s else None, state.stops_at)
                yield Reply(state.reply)
            case AnswerFailed(status=status, detail=detail):
                yield from self._refuse(End(Result.FAILED, By.SERVER, "answer_failed", status, detail))
                yield Reply(state.reply, ApiProblem(500, "call_failed", detail, kind="server_error"))
            case BugFound(detail=detail):
                yield from self._refuse(End(Result.FAILED, By.SERVER, "bug", 500, detail))
                yield Reply(state.reply, ApiProblem(500, "call_failed", "The server failed.", kind="server_error"))
            case _:
                yield from self._refuse(End(Result.FAILED, By.SERVER, "bug", 500, f"{type(event).__name__} came in"))
                yield Reply(state.reply, ApiProblem(500, "call_failed", "The server failed.", kind="server_error"))

    # -- answered

    def _answered(self, state: Answered, event: CallInput, now: float) -> Iterator[CallOutput]:
        match event:
            case AcceptAsked(body=body, reply=reply):
                yield Reply(reply, None if body == state.body else _already_accepted())
            case RejectAsked(reply=reply):
                yield Reply(reply, _already_accepted())
            case HangUpAsked(reply=reply):
                yield from self._hang_up(End(Result.COMPLETED, By.APPLICATION, "application_hung_up"), "hangup")
                yield Reply(reply)
            case ReferAsked(target=target, reply=reply):
                yield from self._begin_refer(state, target, reply)
            case ReferMoved(status=status, detail=detail, final=final):
                yield from self._move_refer(state, status, detail, final=final)
            case CallerHungUp(detail=detail):
                # Many trunks take a transfer over with a BYE and never report on it; some say so (RFC 4488).
                if state.refer is not None and state.refer.may_take_over:
                    end = End(Result.TRANSFERRED, By.CALLER, "transferred", None, detail)
                else:
                    end = End(Result.COMPLETED, By.CALLER, "caller_hung_up", None, detail)
                yield from self._finish(end)
            case LegLost(reason=reason, detail=detail):
                yield from self._finish(End(Result.FAILED, By.SERVER, reason, None, detail))
            case MediaLost(after_s=after_s):
                detail = f"no audio from the caller for {after_s:g} s"
                yield from self._hang_up(End(Result.FAILED, By.SERVER, "media_timeout", None, detail))
            case BugFound(detail=detail):
                yield from self._hang_up(End(Result.FAILED, By.SERVER, "bug", None, detail))
            case DrainBegan(until=until):
                self.state = replace(state, stops_at=_sooner(state.stops_at, until))
            case DeadlinePassed() if state.until is not None and now >= state.until:
                yield from self._hang_up(End(Result.COMPLETED, By.SERVER, state.ends_as))
            case LegAnswered() | AnswerFailed() | CallerCancelled() | DeadlinePassed():
                pass
            case _:
                assert_never(event)

    def _hang_up(self, end: End, by_action: str | None = None) -> Iterator[CallOutput]:
        yield HangUpLeg(end.reason)
        yield from self._finish(end, by_action)

    def _begin_refer(self, state: Answered, target: str, reply: int) -> Iterator[CallOutput]:
        if state.refer is not None and not state.refer.final:
            if state.refer.target == target:
                yield Reply(reply)
                return
            message = "Another transfer of this call is still under way."
            yield Reply(reply, ApiProblem(400, "refer_in_progress", message))
            return
        refer = Refer(target)
        self.state = replace(state, refer=refer)
        yield SendRefer(target)
        yield ReportRefer(refer)
        yield Reply(reply)

    def _move_refer(self, state: Answered, status: int | None, detail: str, *, final: bool) -> Iterator[CallOutput]:
        if state.refer is None or state.refer.final:
            return
        refer = state.refer.moved(status, detail, final=final)
        self.state = replace(state, refer=refer)
        yield ReportRefer(refer)
        if refer.succeeded:
            yield from self._hang_up(End(Result.TRANSFERRED, By.APPLICATION, "transferred", status))

    # -- ended

    def _ended(self, state: Ended, event: CallInput) -> Iterator[CallOutput]:
        match event:
            case RejectAsked(status=status, reply=reply, retried=retried):
                yield Reply(reply, None if retried and state.by_action == f"reject {status}" else NOT_FOUND)
            case HangUpAsked(reply=reply, retried=retried):
                yield Reply(reply, None if retried and state.by_action == "hangup" else NOT_FOUND)
            case AcceptAsked(reply=reply) | ReferAsked(reply=reply):
                yield Reply(reply, NOT_FOUND)
            case _:
                pass


def _already_accepted() -> ApiProblem:
    return ApiProblem(400, "call_already_accepted", "The call was accepted already.")


def _sooner(known: float | None, until: float) -> float:
    return until if known is None else min(known, until)
