"""The calling side: INVITE, CANCEL, ACK, BYE, re-INVITE (RFC 3261 9.1, 12.2.1, 13.2, 14.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec

from offhook.errors import LocalError
from offhook.sip.content import UnsupportedContentError, session_description
from offhook.sip.core import DEAF, Core
from offhook.sip.dialog import Dialog, contact_line, via_line
from offhook.sip.errors import LegStateError, SipParseError
from offhook.sip.flow import Flow
from offhook.sip.header import parse_name_addr
from offhook.sip.leg import (
    ENDED,
    ESTABLISHED,
    NO_OFFER,
    Abandoning,
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
    WantedOffer,
)
from offhook.sip.limits import MAX_FORKS, MAX_GLARE_RETRIES, UDP_REQUEST_LIMIT_BYTES
from offhook.sip.message import Request, Response
from offhook.sip.output import Answered, Output, Progressed, Reanswered, Refused, ReofferRefused
from offhook.sip.response import header_lines
from offhook.sip.transaction import ClientTransaction, Inform, State
from offhook.sip.uri import SipUri, parse_uri


class Invitation(msgspec.Struct, frozen=True):
    """Whom to call and as whom.

    ``target`` is the Request-URI; ``from_`` and ``to`` are addresses with or without display name.
    """

    target: str
    from_: str
    to: str
    route: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]


def invitation(
    target: str, from_: str, to: str | None, route: Sequence[str], headers: Sequence[tuple[str, str]]
) -> Invitation:
    """Check and normalise what the host wants to call. Raises LocalError naming what is wrong."""
    for text in (target, from_, to or "", *route):
        if any(char in text for char in "\r\n\0"):
            raise LocalError("a SIP address must be one line")
    try:
        uri = parse_uri(target)
        origin, called = parse_name_addr(from_, "From"), parse_name_addr(to or f"<{target}>", "To")
        origin.parsed_uri()
    except SipParseError as error:
        raise LocalError(f"cannot call {target!r} from {from_!r}: {error.reason}") from None
    if isinstance(uri, SipUri) and uri.headers:
        raise LocalError(f"cannot call {target!r}: a Request-URI has no headers")
    return Invitation(
        target,
        _written(origin.display, origin.uri),
        _written(called.display, called.uri),
        tuple(hop if hop.startswith("<") else f"<{hop}>" for hop in route),
        tuple(headers),
    )


def _written(display: str, uri: str) -> str:
    if not display:
        return f"<{uri}>"
    quoted = display.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{uri}>'


class InviteUser(msgspec.Struct):
    """Hears the answers to our first INVITE. ``winner`` is the To tag of the branch that won the call."""

    uac: Uac
    leg: Leg
    local: str
    target: str
    cseq: int
    offered: bool
    winner: str | None = None

    def answered(self, transaction: ClientTransaction, response: Response, now: float, out: list[Output]) -> None:
        if response.status < 200:
            self.uac.progressed(self.leg, transaction, response, now, out)
        elif response.status < 300:
            self.uac.accepted(self, transaction, response, now, out)
        else:
            self.uac.refused(self.leg, response.status, response.reason, response, now, out)

    def failed(self, _transaction: ClientTransaction, inform: Inform, now: float, out: list[Output]) -> None:
        # RFC 3261 8.1.3.1: silence counts as 408, a dead transport as 503.
        if inform is Inform.TIMEOUT:
            self.uac.refused(self.leg, 408, "Request Timeout", None, now, out)
        else:
            self.uac.refused(self.leg, 503, "Service Unavailable", None, now, out)


class ReinviteUser(msgspec.Struct):
    """Hears the answers to a re-INVITE of ours."""

    uac: Uac
    leg: Leg
    wanted: WantedOffer
    cseq: int

    def answered(self, transaction: ClientTransaction, response: Response, now: float, out: list[Output]) -> None:
        if response.status < 200:
            if not isinstance(self.leg.state, Established):
                self.uac.give_up_later(transaction, now)
        elif response.status < 300:
            self.uac.reaccepted(self, transaction, response, now, out)
        else:
            self.uac.rerefused(self, response.status, response.reason, now, out)

    def failed(self, _transaction: ClientTransaction, inform: Inform, now: float, out: list[Output]) -> None:
        self.uac.rerefused(self, 408 if inform is Inform.TIMEOUT else 503, "", now, out)


class Uac:
    """The calling side of one agent."""

    def __init__(self, core: Core) -> None:
        self._core = core

    # -- the host's wishes -------------------------------------------------------------------------------------------

    def invite(self, wish: Invitation, flow: Flow, body: bytes | None, now: float, out: list[Output]) -> Leg:
        """Call somebody (RFC 3261 13.2.1)."""
        core = self._core
        local_tag, call_id, branch = core.token(16), core.token(24), core.new_branch()
        local = f"{wish.from_};tag={local_tag}"
        options = core.options
        agent = f"User-Agent: {options.product}\r\n" if options.product else ""
        content = "Content-Type: application/sdp\r\n" if body else ""
        routes = "".join(f"Route: {hop}\r\n" for hop in wish.route)
        extra = header_lines(wish.headers)

        def build(flow: Flow) -> bytes:
            text = (
                f"INVITE {wish.target} SIP/2.0\r\n{via_line(flow, branch)}{routes}Max-Forwards: 70\r\nFrom: {local}\r\n"
                f"To: {wish.to}\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n{contact_line(options, flow)}"
                f"{core.capabilities}{agent}{extra}{content}Content-Length: {len(body or b'')}\r\n\r\n"
            )
            return text.encode("utf-8", "surrogateescape") + (body or b"")

        data = build(flow)
        fallback: tuple[Flow, bytes] | None = None
        if len(data) > UDP_REQUEST_LIMIT_BYTES and flow.transport == "UDP" and options.large_requests == "tcp":
            uri = parse_uri(wish.target)
            if not (isinstance(uri, SipUri) and uri.param("transport") is not None):
                fallback = (flow, data)
                flow = Flow("TCP", flow.remote, flow.local)
                data = build(flow)
        leg = Leg(local_tag, call_id, ENDED, incoming=False)
        user = InviteUser(self, leg, local, wish.target, 1, body is not None)
        core.legs[local_tag] = leg
        core.counters.calls_out += 1
        transaction = core.layer.send_request("INVITE", branch, flow, data, user, now, out, fallback=fallback)
        leg.state = Calling(transaction)
        return leg

    def reinvite(self, leg: Leg, body: bytes | None, now: float, out: list[Output]) -> None:
        """Change the session as soon as no other change is under way; a later wish replaces one that waits."""
        match leg.state:
            case Established():
                leg.wanted = WantedOffer(body)
                self.try_reoffer(leg, now, out)
            case Ended() | HangingUp() | AwaitingAck() | Cancelling() | Abandoning():
                pass
            case Ringing() | Calling():
                raise LegStateError("cannot re-INVITE before the call is answered")
            case _:
                assert_never(leg.state)

    def acknowledge(self, leg: Leg, body: bytes | None, now: float, out: list[Output]) -> None:
        """Send the ACK that the host owes, with its answer to the peer's offer."""
        offering = leg.offering
        if not isinstance(offering, OwedAck) or leg.dialog is None:
            return
        leg.offering = NO_OFFER
        self._core.send_ack(leg.dialog, offering.transaction, offering.cseq, body, out)
        self.try_reoffer(leg, now, out)

    def abandon(self, leg: Leg, reason: str | None, now: float, out: list[Output], *, told: bool) -> None:
        """Give up a call that is not answered: CANCEL, once a provisional response has come (RFC 3261 9.1)."""
        match leg.state:
            case Calling(transaction=transaction) | Abandoning(transaction=transaction):
                if transaction.state is State.PROCEEDING:
                    self._cancel(leg, transaction, reason, now, out, told=told)
                else:
                    leg.state = Abandoning(transaction, reason, told)
            case Cancelling(transaction=transaction):
                leg.state = Cancelling(transaction, told)
            case _:
                pass

    def _cancel(
        self, leg: Leg, transaction: ClientTransaction, reason: str | None, now: float, out: list[Output], *, told: bool
    ) -> None:
        leg.state = Cancelling(transaction, told)
        self._core.layer.give_up_later(transaction, now)
        self._core.send_cancel(transaction, reason, now, out)

    def give_up_later(self, transaction: ClientTransaction, now: float) -> None:
        """The call is over; the final response to its re-INVITE need not be waited for any longer than 64*T1."""
        self._core.layer.give_up_later(transaction, now)

    def due(self, leg: Leg, now: float, out: list[Output]) -> None:
        """The leg's own deadline: the wait before its re-INVITE is over."""
        if isinstance(leg.offering, BackingOff):
            leg.offering = NO_OFFER
        self.try_reoffer(leg, now, out)

    # -- answers to the first INVITE ---------------------------------------------------------------------------------

    def progressed(
        self, leg: Leg, transaction: ClientTransaction, response: Response, now: float, out: list[Output]
    ) -> None:
        """A provisional response."""
        match leg.state:
            case Abandoning(reason=reason, told=told):
                self._cancel(leg, transaction, reason, now, out, told=told)
            case Calling() if response.status > 100:
                out.append(Progressed(leg, response.status, response.reason, _description(response)))
            case _:
                pass

    def accepted(
        self, user: InviteUser, transaction: ClientTransaction, response: Response, now: float, out: list[Output]
    ) -> None:
        """A 2xx: the first makes the call, its copies are acknowledged again, those of other branches are let go."""
        core, leg, tag = self._core, user.leg, response.to_tag
        if tag in transaction.acks:
            core.layer.repeat_ack(transaction, tag, out)
            return
        if tag == user.winner:
            return  # the host has not given its answer yet
        if len(transaction.acks) >= MAX_FORKS:
            return
        dialog = Dialog.of_caller(user.local, leg.id, user.cseq, response, user.target, transaction.flow)
        match leg.state:
            case Calling():
                user.winner = tag
                leg.dialog = dialog
                leg.state = ESTABLISHED
                if user.offered:
                    core.send_ack(dialog, transaction, user.cseq, None, out)
                else:
                    leg.offering = OwedAck(transaction, user.cseq)
                out.append(Answered(leg, response, _description(response)))
            case Abandoning(reason=reason, told=told):
                user.winner = tag
                self._hang_up_answered(leg, dialog, transaction, user.cseq, reason, now, out, told=told)
            case Cancelling(told=told):
                user.winner = tag
                self._hang_up_answered(leg, dialog, transaction, user.cseq, None, now, out, told=told)
            case _:
                # A second branch of a forking proxy, or the answer to a call that is over (RFC 3261 13.2.2.4).
                core.send_ack(dialog, transaction, user.cseq, None, out)
                core.send_in_dialog(dialog, "BYE", DEAF, now, out)

    def _hang_up_answered(
        self,
        leg: Leg,
        dialog: Dialog,
        transaction: ClientTransaction,
        cseq: int,
        reason: str | None,
        now: float,
        out: list[Output],
        *,
        told: bool,
    ) -> None:
        """The answer crossed our CANCEL: take the call and end it at once (RFC 3261 15)."""
        leg.dialog = dialog
        self._core.send_ack(dialog, transaction, cseq, None, out)
        self._core.send_bye(leg, reason, now, out, told=told)

    def refused(
        self, leg: Leg, status: int, reason: str, response: Response | None, now: float, out: list[Output]
    ) -> None:
        """No call will come of it."""
        match leg.state:
            case Calling():
                self._core.end(leg, Refused(leg, status, reason, response), now, out)
            case Abandoning() | Cancelling():
                self._core.release(leg, status if response is not None else None, now, out)
            case _:
                pass

    # -- re-INVITE ---------------------------------------------------------------------------------------------------

    def try_reoffer(self, leg: Leg, now: float, out: list[Output]) -> None:
        """Send the re-INVITE that the host wants, when no other is in progress in either direction (RFC 3261 14.1)."""
        wanted, dialog = leg.wanted, leg.dialog
        if wanted is None or dialog is None or leg.unacknowledged or not isinstance(leg.state, Established):
            return
        match leg.offering:
            case OfferRefused(transaction=theirs) if theirs.state is State.COMPLETED:
                self._core.layer.deadlines.set(leg, now + self._core.options.t1_s)
            case NoOffer() | OfferRefused():
                user = ReinviteUser(self, leg, wanted, dialog.local_seq + 1)
                extra = self._core.capabilities
                body = wanted.body or b""
                transaction = self._core.send_in_dialog(dialog, "INVITE", user, now, out, extra=extra, body=body)
                leg.offering = OurOffer(transaction)
            case TheirOffer() | OurOffer() | BackingOff() | OwedAck():
                pass
            case _:
                assert_never(leg.offering)

    def reaccepted(
        self, user: ReinviteUser, transaction: ClientTransaction, response: Response, now: float, out: list[Output]
    ) -> None:
        """A 2xx to our re-INVITE."""
        core, leg, dialog = self._core, user.leg, user.leg.dialog
        if dialog is None:
            return
        if response.to_tag in transaction.acks:
            core.layer.repeat_ack(transaction, response.to_tag, out)
            return
        offering = leg.offering
        if not isinstance(offering, OurOffer) or offering.transaction is not transaction:
            if not isinstance(offering, OwedAck) or offering.transaction is not transaction:
                core.send_ack(dialog, transaction, user.cseq, None, out)
            return
        dialog.refresh_target(response)
        if leg.wanted is user.wanted:
            leg.wanted = None
        if user.wanted.body is None:
            leg.offering = OwedAck(transaction, user.cseq)
        else:
            leg.offering = NO_OFFER
            core.send_ack(dialog, transaction, user.cseq, None, out)
        out.append(Reanswered(leg, _description(response)))
        self.try_reoffer(leg, now, out)

    def rerefused(self, user: ReinviteUser, status: int, reason: str, now: float, out: list[Output]) -> None:
        """Our re-INVITE failed: 491 is tried again, 408 and 481 end the dialog (12.2.1.2), else the session stays."""
        core, leg = self._core, user.leg
        if not isinstance(leg.offering, OurOffer) or leg.dialog is None:
            return
        leg.offering = NO_OFFER
        replaced = leg.wanted is not user.wanted
        if status in (408, 481) and isinstance(leg.state, Established):
            core.lose(leg, f"re-INVITE got {status}", now, out)
            return
        if status == 491 and not replaced and user.wanted.glares < MAX_GLARE_RETRIES:
            # The owner of the Call-ID waits longer, so that the two do not meet again (RFC 3261 14.1).
            wait_s = 2.1 + core.chance(191) / 100 if not leg.incoming else core.chance(201) / 100
            leg.wanted = WantedOffer(user.wanted.body, user.wanted.glares + 1)
            leg.offering = BackingOff(now + wait_s)
            core.layer.deadlines.set(leg, now + wait_s)
            return
        if not replaced:
            leg.wanted = None
        out.append(ReofferRefused(leg, status, reason))
        self.try_reoffer(leg, now, out)


def _description(message: Request | Response) -> bytes | None:
    try:
        return session_description(message)
    except UnsupportedContentError:
        return None
