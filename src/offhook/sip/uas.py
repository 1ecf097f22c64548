"""The called side:

INVITE, ACK, CANCEL, BYE, re-INVITE, UPDATE and INFO of a peer (RFC 3261 12.2.2, 13.3, 14.2, 15.1.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from offhook.errors import LocalError
from offhook.sip.content import SDP_TYPE, UnsupportedContentError, session_description
from offhook.sip.core import Core, reason_line
from offhook.sip.dialog import Dialog, contact_line
from offhook.sip.errors import LegStateError
from offhook.sip.flow import Flow
from offhook.sip.layer import server_key
from offhook.sip.leg import (
    ESTABLISHED,
    NO_OFFER,
    Abandoning,
    Acceptance,
    AwaitingAck,
    BackingOff,
    Calling,
    Cancelling,
    Ended,
    Established,
    HangingUp,
    Leg,
    NoOffer,
    OfferRefused,
    OurOffer,
    OwedAck,
    Ringing,
    TheirOffer,
)
from offhook.sip.limits import MAX_UNACKNOWLEDGED
from offhook.sip.message import Request
from offhook.sip.output import (
    Cancelled,
    Confirmed,
    HungUp,
    InfoReceived,
    Invited,
    OfferWithdrawn,
    Output,
    Rejected,
    Released,
    Reoffered,
)
from offhook.sip.response import header_lines
from offhook.sip.transaction import ServerTransaction, State
from offhook.sip.uac import Uac


class Uas:
    """The called side of one agent."""

    def __init__(self, core: Core, uac: Uac) -> None:
        self._core = core
        self._uac = uac

    # -- requests outside a dialog -----------------------------------------------------------------------------------

    def invited(
        self, request: Request, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]
    ) -> None:
        """An INVITE that passed inspection asks for a new call (RFC 3261 13.3.1)."""
        core = self._core
        try:
            offer = session_description(request)
        except UnsupportedContentError as problem:
            self._refuse_content(problem, request, transaction, flow, now, out)
            return
        local_tag = transaction.to_tag
        dialog = Dialog.of_callee(request, local_tag, flow)
        transaction.record_route = record_route_lines(request)
        leg = Leg(local_tag, request.call_id, Ringing(transaction, request.cseq, offer is not None), incoming=True)
        leg.dialog = dialog
        leg.invite = request
        transaction.owner = leg
        core.legs[local_tag] = leg
        core.counters.calls_in += 1
        expires = request.get("expires")
        if expires is not None and expires.isascii() and expires.isdecimal() and 0 < int(expires[:9]) < 100_000:
            core.layer.deadlines.set(leg, now + int(expires))
        out.append(Invited(leg, request, offer))

    def expired(self, leg: Leg, now: float, out: list[Output]) -> None:
        """The caller said in Expires how long it would wait (RFC 3261 13.3.1)."""
        match leg.state:
            case Ringing(transaction=transaction):
                self._core.respond(transaction, 487, now, out)
                self._core.end(leg, Cancelled(leg, "the INVITE expired"), now, out)
            case _:
                pass

    def cancelled(self, request: Request, transaction: ServerTransaction, now: float, out: list[Output]) -> None:
        """A CANCEL (RFC 3261 9.2). Its 200 carries the To tag of the INVITE's responses."""
        core = self._core
        invite = core.layer.server.get(server_key(request, "INVITE"))
        if invite is None:
            if not request.to_tag:
                transaction.set_to_tag(core.token(16))
            core.respond(transaction, 481, now, out)
            return
        if not request.to_tag:
            transaction.set_to_tag(invite.to_tag)
        core.respond(transaction, 200, now, out)
        leg = invite.owner
        if not isinstance(leg, Leg) or invite.state is not State.PROCEEDING:
            return
        core.respond(invite, 487, now, out)
        if isinstance(leg.offering, TheirOffer) and leg.offering.transaction is invite:
            leg.offering = OfferRefused(invite)
            out.append(OfferWithdrawn(leg))
            self._uac.try_reoffer(leg, now, out)
        else:
            core.end(leg, Cancelled(leg, request.get("reason")), now, out)

    def acknowledged(self, request: Request, now: float, out: list[Output]) -> None:
        """The ACK of a 2xx, matched by dialog and CSeq number, since its branch is a new one (RFC 3261 13.3.1.4)."""
        core = self._core
        leg = core.legs.get(request.to_tag)
        if leg is None or leg.call_id != request.call_id or leg.remote_tag != request.from_tag:
            core.counters.stray_acks += 1
            return
        for acceptance in leg.unacknowledged:
            if acceptance.cseq == request.cseq:
                break
        else:
            return
        core.layer.deadlines.clear(acceptance)
        leg.unacknowledged = tuple(other for other in leg.unacknowledged if other is not acceptance)
        match leg.state:
            case AwaitingAck(reason=reason) if acceptance.is_first:
                core.send_bye(leg, reason, now, out, told=False)
            case Established():
                out.append(Confirmed(leg, None if acceptance.offered else _answer_in(request)))
                self._uac.try_reoffer(leg, now, out)
            case _:
                pass

    # -- requests in a dialog ----------------------------------------------------------------------------------------

    def in_dialog(
        self, leg: Leg, request: Request, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]
    ) -> None:
        """A request that belongs to a leg, already past the method, Require and CSeq rules."""
        match request.method:
            case "BYE":
                self._bye(leg, request, transaction, now, out)
            case "INVITE":
                self._reinvite(leg, request, transaction, flow, now, out)
            case "UPDATE":
                self._update(leg, request, transaction, flow, now, out)
            case _:
                # INFO: any package and type is taken, the host sorts them (RFC 6086 9).
                self._core.respond(transaction, 200, now, out)
                out.append(InfoReceived(leg, request.get("content-type") or "", request.body))

    def _bye(self, leg: Leg, request: Request, transaction: ServerTransaction, now: float, out: list[Output]) -> None:
        core = self._core
        core.respond(transaction, 200, now, out)
        reason = request.get("reason")
        match leg.state:
            case Ringing(transaction=invite):
                # The caller may end its early dialog with BYE instead of CANCEL (RFC 3261 15).
                core.respond(invite, 487, now, out)
                core.end(leg, Cancelled(leg, reason), now, out)
            case Calling() | Abandoning(told=False) | Cancelling(told=False):
                # Every 2xx of the callee was lost and it gave up on our ACK.
                out.append(HungUp(leg, reason))
                self._uac.abandon(leg, None, now, out, told=True)
            case Established() | AwaitingAck():
                core.end(leg, HungUp(leg, reason), now, out)
            case HangingUp() | Ended() | Abandoning() | Cancelling():
                pass
            case _:
                assert_never(leg.state)

    def _reinvite(
        self, leg: Leg, request: Request, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]
    ) -> None:
        core = self._core
        transaction.record_route = record_route_lines(request)
        match leg.state:
            case Calling() | Abandoning() | Cancelling():
                core.respond(transaction, 491, now, out)
                return
            case Ringing():
                self._refuse_for_now(transaction, now, out)
                return
            case AwaitingAck() | HangingUp() | Ended():
                core.respond(transaction, 481, now, out)
                return
            case Established():
                pass
            case _:
                assert_never(leg.state)
        # An answer that should have come in a lost ACK is still missing: no offer may cross it (RFC 5407 3.1.5).
        owed_answer = any(not acceptance.offered for acceptance in leg.unacknowledged)
        match leg.offering:
            case OurOffer() | OwedAck():
                core.respond(transaction, 491, now, out)
            case TheirOffer():
                self._refuse_for_now(transaction, now, out)
            case NoOffer() | OfferRefused() | BackingOff() if owed_answer:
                core.respond(transaction, 491, now, out)
            case NoOffer() | OfferRefused() | BackingOff() if len(leg.unacknowledged) >= MAX_UNACKNOWLEDGED:
                self._refuse_for_now(transaction, now, out)
            case NoOffer() | OfferRefused() | BackingOff():
                self._take_offer(leg, request, transaction, flow, now, out)
            case _:
                assert_never(leg.offering)

    def _update(
        self, leg: Leg, request: Request, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]
    ) -> None:
        """RFC 3311 5.2: an offer waits for no other; a refresh without one is answered at once."""
        core = self._core
        if isinstance(leg.state, HangingUp | AwaitingAck | Ended):
            core.respond(transaction, 481, now, out)
            return
        if not request.body:
            if leg.dialog is not None:
                leg.dialog.refresh_target(request)
            core.respond(transaction, 200, now, out, extra=contact_line(core.options, flow) + core.capabilities)
            return
        match leg.state:
            case Calling() | Abandoning() | Cancelling():
                core.respond(transaction, 491, now, out)
            case Ringing():
                self._refuse_for_now(transaction, now, out)
            case Established():
                if isinstance(leg.offering, TheirOffer):
                    self._refuse_for_now(transaction, now, out)
                elif isinstance(leg.offering, OurOffer | OwedAck) or any(not a.offered for a in leg.unacknowledged):
                    core.respond(transaction, 491, now, out)
                else:
                    self._take_offer(leg, request, transaction, flow, now, out)
            case _:
                assert_never(leg.state)

    def _take_offer(
        self, leg: Leg, request: Request, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]
    ) -> None:
        core = self._core
        try:
            offer = session_description(request)
        except UnsupportedContentError as problem:
            self._refuse_content(problem, request, transaction, flow, now, out)
            return
        core.layer.deadlines.clear(leg)
        leg.offering = TheirOffer(transaction, request, offer is not None)
        transaction.owner = leg
        out.append(Reoffered(leg, request.method, offer))

    def _refuse_for_now(self, transaction: ServerTransaction, now: float, out: list[Output]) -> None:
        """Another offer of the peer is still open (RFC 3261 14.2, RFC 3311 5.2)."""
        self._core.respond(transaction, 500, now, out, extra=f"Retry-After: {self._core.chance(11)}\r\n")

    def _refuse_content(
        self,
        problem: UnsupportedContentError,
        request: Request,
        transaction: ServerTransaction,
        flow: Flow,
        now: float,
        out: list[Output],
    ) -> None:
        core = self._core
        core.counters.rejected += 1
        extra = f"Accept: {SDP_TYPE}\r\n" + ("Accept-Encoding: identity\r\n" if problem.encoding else "")
        core.respond(transaction, 415, now, out, extra=extra)
        out.append(Rejected(flow.remote, 415, request.method, problem.why))

    # -- the host's answers ------------------------------------------------------------------------------------------

    def ring(self, leg: Leg, now: float, out: list[Output], status: int, body: bytes) -> None:
        """Send a provisional response."""
        match leg.state:
            case Ringing(transaction=transaction) if status == 100 and transaction.sent:
                pass  # the caller knows more already
            case Ringing(transaction=transaction):
                extra = (
                    "" if status == 100 else f"{transaction.record_route}{self._contact(leg)}{self._core.capabilities}"
                )
                self._core.respond(transaction, status, now, out, extra=extra, body=body)
            case _:
                self._ignore_late(leg, "ring")

    def answer(self, leg: Leg, body: bytes, now: float, out: list[Output]) -> None:
        """Send the 200 and repeat it until its ACK comes."""
        match leg.state:
            case Ringing(transaction=transaction, cseq=cseq, offered=offered):
                leg.state = ESTABLISHED
                leg.invite = None
                self._core.layer.deadlines.clear(leg)
                self._accept(leg, transaction, cseq, body, now, out, offered=offered, is_first=True)
            case _:
                self._ignore_late(leg, "answer")

    def reject(self, leg: Leg, status: int, now: float, out: list[Output], reason: str | None, extra: str) -> None:
        """Send the final refusal."""
        match leg.state:
            case Ringing(transaction=transaction):
                self._core.respond(transaction, status, now, out, reason=reason, extra=extra)
                self._core.end(leg, Released(leg, status), now, out)
            case _:
                self._ignore_late(leg, "reject")

    def answer_offer(
        self, leg: Leg, body: bytes | None, now: float, out: list[Output], status: int, extra: str
    ) -> None:
        """Answer the peer's re-INVITE or UPDATE."""
        offering = leg.offering
        if not isinstance(offering, TheirOffer):
            return
        leg.offering = NO_OFFER
        request, transaction = offering.request, offering.transaction
        if status >= 300:
            self._core.respond(transaction, status, now, out, extra=extra)
            if request.method == "INVITE":
                leg.offering = OfferRefused(transaction)
        else:
            if leg.dialog is not None:
                # A refused re-INVITE moves nothing, so the target follows with the 2xx (RFC 6141 4.7).
                leg.dialog.refresh_target(request)
            if request.method == "INVITE":
                self._accept(
                    leg, transaction, request.cseq, body or b"", now, out, offered=offering.offered, is_first=False
                )
            else:
                extra = self._contact(leg) + self._core.capabilities
                self._core.respond(transaction, status, now, out, extra=extra, body=body or b"")
        self._uac.try_reoffer(leg, now, out)

    def _accept(
        self,
        leg: Leg,
        transaction: ServerTransaction,
        cseq: int,
        body: bytes,
        now: float,
        out: list[Output],
        *,
        offered: bool,
        is_first: bool,
    ) -> None:
        core = self._core
        extra = f"{transaction.record_route}{self._contact(leg)}{core.capabilities}"
        data = core.respond(transaction, 200, now, out, extra=extra, body=body)
        acceptance = Acceptance(leg, transaction, data, cseq, offered=offered, is_first=is_first)
        acceptance.interval_s = core.options.t1_s
        acceptance.give_up_at = now + core.options.give_up_s
        leg.unacknowledged = (*leg.unacknowledged, acceptance)
        core.layer.deadlines.set(acceptance, now + acceptance.interval_s)

    def repeat(self, acceptance: Acceptance, now: float, out: list[Output]) -> None:
        """The ACK is not here yet: T1 doubling to T2, and the end after 64*T1 (RFC 3261 13.3.1.4)."""
        core, leg = self._core, acceptance.leg
        if now < acceptance.give_up_at:
            core.layer.respond(acceptance.transaction, 200, acceptance.data, now, out)
            acceptance.interval_s = min(acceptance.interval_s * 2, core.options.t2_s)
            core.layer.deadlines.set(acceptance, min(now + acceptance.interval_s, acceptance.give_up_at))
            return
        match leg.state:
            case AwaitingAck(reason=reason):
                core.send_bye(leg, reason, now, out, told=False)
            case _:
                core.lose(leg, "no ACK for our 200 within 64*T1", now, out)

    def _contact(self, leg: Leg) -> str:
        return contact_line(self._core.options, leg.dialog.flow) if leg.dialog is not None else ""

    def _ignore_late(self, leg: Leg, what: str) -> None:
        """A host may act on a leg whose end it has not heard of yet; anything else is its mistake."""
        match leg.state:
            case Ended() | HangingUp() | AwaitingAck():
                return
            case _:
                raise LegStateError(f"cannot {what} a leg that is {type(leg.state).__name__}")


def _answer_in(ack: Request) -> bytes | None:
    try:
        return session_description(ack)
    except UnsupportedContentError:
        return None


def record_route_lines(request: Request) -> str:
    """The Record-Route lines of a request as its responses repeat them (RFC 3261 12.1.1)."""
    return "".join(f"Record-Route: {value}\r\n" for value in request.all("record-route"))


def refusal_lines(retry_after_s: int | None, headers: Sequence[tuple[str, str]], reason: str | None = None) -> str:
    """The header lines that a refusal carries besides the usual.

    Raises LocalError for names that are no header names.
    """
    for name, _ in headers:
        if not name or any(char in name for char in " \t\r\n:"):
            raise LocalError(f"{name!r} is not a header name")
    retry = f"Retry-After: {retry_after_s}\r\n" if retry_after_s is not None else ""
    return header_lines(tuple(headers)) + retry + reason_line(reason)
