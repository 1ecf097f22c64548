"""The SIP user agent of one process: bytes and wishes in, bytes and events out, no I/O.

``receive`` and ``advance`` never raise because of what a peer sent. Wishes on a leg that is over are ignored, because a
host may not have heard of the end yet; wishes that can never be right raise LocalError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from offhook.errors import LocalError
from offhook.sip.core import Core, Token
from offhook.sip.counters import Counters
from offhook.sip.dialog import contact_line
from offhook.sip.errors import SipParseError
from offhook.sip.flow import Flow
from offhook.sip.guard import Guard
from offhook.sip.inspection import Refusal, inspect
from offhook.sip.layer import merge_key, server_key
from offhook.sip.leg import (
    Abandoning,
    Acceptance,
    AwaitingAck,
    Calling,
    Cancelling,
    Ended,
    Established,
    HangingUp,
    Leg,
    Ringing,
)
from offhook.sip.message import Request, parse_message
from offhook.sip.options import AgentOptions
from offhook.sip.output import Output, ReferId, Rejected, Transmit
from offhook.sip.refer import Referrer, Transfer
from offhook.sip.response import encode_response, reason_phrase, reply_flow, response_head
from offhook.sip.transaction import Inform, Input, ServerTransaction, Transaction
from offhook.sip.uac import Uac, invitation
from offhook.sip.uas import Uas, refusal_lines

WouldRefuse: TypeAlias = Callable[[str], Refusal | None]
"""How the host would refuse an INVITE for a Request-URI now; None when it would take it."""

PING: Final = b"\r\n\r\n"
PONG: Final = b"\r\n"


class UserAgent:
    """One user agent.

    ``token(n)`` returns n random lower-case letters and digits; ``now`` is always monotonic seconds. What peers ask by
    OPTIONS is passed on to ``would_refuse``; calls themselves are the host's to refuse.
    """

    def __init__(self, options: AgentOptions, token: Token, would_refuse: WouldRefuse = lambda _uri: None) -> None:
        self.options = options
        self._would_refuse = would_refuse
        self._core = Core(options, token)
        self._layer = self._core.layer
        self._uac = Uac(self._core)
        self._uas = Uas(self._core, self._uac)
        self._referrer = Referrer(self._core)
        self._guard = Guard(options.guard)
        self._draining = False

    # -- what the driver tells ---------------------------------------------------------------------------------------

    def receive(self, data: bytes, flow: Flow, now: float) -> list[Output]:
        """Take one datagram, or one message cut from a stream by StreamFramer."""
        out: list[Output] = []
        counters = self._core.counters
        counters.received += 1
        if flow.connection:
            self._layer.connection_seen(flow.connection)
        if not self._guard.lets_in(flow.remote[0], now):
            counters.dropped_source += 1
            return self.turned_away(flow.remote, now)
        if len(data) < 5 and not data.strip(b"\r\n\0"):
            self._keepalive(data, flow, out)
            return out
        try:
            message = parse_message(data, stream=flow.transport == "TCP")
        except SipParseError as error:
            self._malformed(error, flow, now, out)
            return out
        if isinstance(message, Request):
            self._request(message, flow, now, out)
        else:
            self._layer.receive_response(message, now, out)
        return out

    def accepts_from(self, host: str, now: float) -> bool:
        """Whether an address may talk to us: asked before a connection is accepted."""
        return self._guard.lets_in(host, now)

    def turned_away(self, source: tuple[str, int], now: float) -> list[Output]:
        """Somebody who may not talk to us tried to; the first time is told."""
        out: list[Output] = []
        self._dropped(source, "", "its address is outside the allow-list", now, out)
        return out

    def trusts(self, host: str, now: float) -> bool:
        """Whether an address may take more than a stranger's share: it is allowed by name."""
        return self._guard.trusts(host, now)

    def carries_call(self, flow: Flow) -> bool:
        """Whether the dialog of some leg goes over a connection. Looks at every leg: for now and then."""
        dialogs = (leg.dialog for leg in self._core.legs.values())
        return any(
            dialog.flow.connection == flow.connection or dialog.flow.remote == flow.remote
            for dialog in dialogs
            if dialog is not None and dialog.flow.transport == flow.transport
        )

    def connection_closed(self, flow: Flow, now: float) -> list[Output]:
        """A TCP connection is closed. Dialogs survive it: their next request opens another (RFC 3261 18)."""
        out: list[Output] = []
        self._layer.connection_gone(flow.connection)
        self._layer.fail_flow(flow, now, out)
        return out

    def transport_failed(self, flow: Flow, now: float) -> list[Output]:
        """Something could not be sent.

        Final for a stream; for UDP only a hint, since the timers decide (RFC 3261 18.4).
        """
        out: list[Output] = []
        self._core.counters.transport_failures += 1
        if flow.reliable:
            if flow.connection:
                self._layer.connection_gone(flow.connection)
            self._layer.fail_flow(flow, now, out)
        return out

    def advance(self, now: float) -> list[Output]:
        """Do everything that is due."""
        out: list[Output] = []
        pop_due = self._layer.deadlines.pop_due
        while (timed := pop_due(now)) is not None:
            if isinstance(timed, Transaction):
                self._layer.expire(timed, now, out)
            elif isinstance(timed, Acceptance):
                self._uas.repeat(timed, now, out)
            elif isinstance(timed, Leg):
                if isinstance(timed.state, Ringing):
                    self._uas.expired(timed, now, out)
                else:
                    self._uac.due(timed, now, out)
            elif isinstance(timed, Transfer):
                self._referrer.due(timed, out)
        return out

    def next_deadline(self) -> float | None:
        """When ``advance`` has something to do, None for never."""
        return self._layer.deadlines.next()

    # -- what the host may look at -----------------------------------------------------------------------------------

    @property
    def counters(self) -> Counters:
        """Totals since the start."""
        return self._core.counters

    @property
    def legs(self) -> Sequence[Leg]:
        """The legs that are not over, and those whose transfer is still being reported."""
        return list(self._core.legs.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left: no leg, no transaction, no deadline."""
        layer = self._layer
        return not (self._core.legs or layer.server or layer.client or layer.merged) and layer.deadlines.next() is None

    def drain(self, now: float) -> list[Output]:
        """Admit no new call from now on: INVITE and OPTIONS get 503 with Retry-After. Calls in progress go on."""
        self._draining = True
        return self.advance(now)

    # -- the called side ---------------------------------------------------------------------------------------------

    def ring(self, leg: Leg, now: float, status: int = 180, body: bytes = b"") -> list[Output]:
        """Send a provisional response: 180, another 1xx, or 100 before ``trying_after_s``; it is repeated every minute.

        ``body`` is early media's description.
        """
        if not 100 <= status <= 199:
            raise LocalError(f"{status} is no provisional status")
        out: list[Output] = []
        self._uas.ring(leg, now, out, status, body)
        return out

    def answer(self, leg: Leg, body: bytes, now: float) -> list[Output]:
        """Accept the call with 200: ``body`` is the answer to the caller's offer, or our offer when it made none."""
        out: list[Output] = []
        self._uas.answer(leg, body, now, out)
        return out

    def reject(
        self,
        leg: Leg,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        retry_after_s: int | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> list[Output]:
        """Refuse the call with 300 to 699.

        ``reason`` replaces the reason phrase. A 3xx needs a Contact among ``headers``.
        """
        if not 300 <= status <= 699:
            raise LocalError(f"{status} is no refusal")
        out: list[Output] = []
        self._uas.reject(leg, status, now, out, reason, refusal_lines(retry_after_s, headers))
        return out

    def answer_offer(
        self, leg: Leg, body: bytes | None, now: float, status: int = 200, headers: Sequence[tuple[str, str]] = ()
    ) -> list[Output]:
        """Answer ``Reoffered``: 200 with the description, or a refusal (488) that leaves the session as it was.

        ``headers`` go with a refusal.
        """
        if not 200 <= status <= 699:
            raise LocalError(f"{status} is no final status")
        out: list[Output] = []
        self._uas.answer_offer(leg, body, now, out, status, refusal_lines(None, headers))
        return out

    # -- the calling side --------------------------------------------------------------------------------------------

    def invite(
        self,
        target: str,
        flow: Flow,
        body: bytes | None,
        now: float,
        *,
        from_: str,
        to: str | None = None,
        route: Sequence[str] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> tuple[Leg, list[Output]]:
        """Call ``target``, sending to ``flow``. ``body`` is our offer, None to ask for the peer's.

        ``from_`` and ``to`` (default: the target) are addresses with or without display name; ``route`` are proxies to
        pass. A request above 1,300 bytes goes over TCP when the target names no transport, and over UDP when TCP fails.
        Raises LocalError for an address that is none.
        """
        out: list[Output] = []
        refusal_lines(None, headers)
        leg = self._uac.invite(invitation(target, from_, to, route, headers), flow, body, now, out)
        return leg, out

    def acknowledge(self, leg: Leg, body: bytes | None, now: float) -> list[Output]:
        """Send the ACK after ``Answered`` or ``Reanswered`` to an INVITE without offer; ``body`` is our answer."""
        out: list[Output] = []
        self._uac.acknowledge(leg, body, now, out)
        return out

    def refer(
        self, leg: Leg, target_uri: str, now: float, *, headers: Sequence[tuple[str, str]] = ()
    ) -> tuple[ReferId, list[Output]]:
        """Ask the peer to call ``target_uri`` (tel, sip or sips); its reports follow as ``Refer...`` outputs.

        Raises LocalError for a target that is none, LegStateError when the leg is not established.
        """
        out: list[Output] = []
        refusal_lines(None, headers)
        refer_id = self._referrer.refer(leg, target_uri, tuple(headers), now, out)
        return refer_id, out

    # -- both sides --------------------------------------------------------------------------------------------------

    def reinvite(self, leg: Leg, body: bytes | None, now: float) -> list[Output]:
        """Offer a change of the session; it waits its turn, and again after a glare (491).

        None asks for the peer's offer.
        """
        out: list[Output] = []
        self._uac.reinvite(leg, body, now, out)
        return out

    def hang_up(self, leg: Leg, now: float, *, reason: str | None = None) -> list[Output]:
        """End the leg in the way its state asks for: BYE, CANCEL, or 603. ``reason`` is a Reason header (RFC 3326)."""
        out: list[Output] = []
        match leg.state:
            case Ringing():
                self._uas.reject(leg, 603, now, out, None, refusal_lines(None, (), reason))
            case Calling():
                self._uac.abandon(leg, reason, now, out, told=False)
            case Established():
                if any(acceptance.is_first for acceptance in leg.unacknowledged):
                    leg.state = AwaitingAck(reason)
                else:
                    self._core.send_bye(leg, reason, now, out, told=False)
            case Abandoning() | Cancelling() | AwaitingAck() | HangingUp() | Ended():
                pass
        return out

    # -- requests ----------------------------------------------------------------------------------------------------

    def _request(self, request: Request, flow: Flow, now: float, out: list[Output]) -> None:
        layer, method = self._layer, request.method
        key = server_key(request, "INVITE" if method == "ACK" else method)
        transaction = layer.server.get(key)
        if method == "ACK":
            if transaction is None or layer.feed_server(transaction, Input.ACK, now, out) is Inform.ACK:
                self._uas.acknowledged(request, now, out)
            return
        if transaction is not None:
            self._core.counters.retransmissions_absorbed += 1
            layer.feed_server(transaction, Input.REQUEST, now, out)
            return
        leg = self._core.legs.get(request.to_tag) if request.to_tag else None
        if leg is not None and not _belongs(leg, request):
            leg = None
        # A CANCEL of an INVITE we know is part of that call: neither guard nor full table may keep it from ending.
        is_known = leg is not None or (method == "CANCEL" and server_key(request, "INVITE") in layer.server)
        if not is_known and not self._admits(request, flow, now, out):
            return
        if layer.full and not is_known:
            self._core.counters.dropped_full += 1
            self._stateless(
                request, 503, "Service Unavailable", flow, out, f"Retry-After: {self.options.retry_after_s}\r\n"
            )
            return
        merged_key = "" if request.to_tag or method == "CANCEL" else merge_key(request)
        merged = merged_key in layer.merged
        transaction = layer.open_server(request, key, merged_key, flow, now, out)
        if method == "CANCEL":
            self._uas.cancelled(request, transaction, now, out)
            return
        if not request.to_tag:
            transaction.set_to_tag(self._core.token(16))
        refusal = inspect(request)
        if merged:
            self._core.counters.merged += 1
            refusal = Refusal(482, "the same request came another way")
        if refusal is not None:
            self._refuse(request, transaction, refusal, flow, now, out)
        elif leg is not None:
            self._in_dialog(leg, request, transaction, flow, now, out)
        else:
            self._outside(request, transaction, flow, now, out)

    def _admits(self, request: Request, flow: Flow, now: float, out: list[Output]) -> bool:
        """The guard's word on a request that belongs to nothing we know."""
        counters = self._core.counters
        if self._guard.is_scanner(request):
            counters.dropped_scanner += 1
            self._dropped(flow.remote, request.method, "it bears the mark of an attack tool", now, out)
            return False
        if not self._guard.lets_request(flow.remote[0], now):
            counters.dropped_rate += 1
            self._dropped(flow.remote, request.method, "more new requests than its address may send", now, out)
            return False
        return True

    def _dropped(self, source: tuple[str, int], method: str, why: str, now: float, out: list[Output]) -> None:
        """Tell the host, not the peer: silence is what scanners get, but a trunk's owner has to find out why."""
        if self._guard.is_news(source[0], now):
            out.append(Rejected(source, 0, method, why))

    def _outside(
        self, request: Request, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]
    ) -> None:
        core = self._core
        if request.to_tag or request.method not in ("INVITE", "OPTIONS"):
            self._refuse(request, transaction, Refusal(481, "no such call"), flow, now, out)
        elif self._draining or len(core.legs) >= self.options.max_legs:
            # OPTIONS is answered as an INVITE would be (RFC 3261 11.2): trunks ask so whether to send calls here.
            core.counters.refused_busy += request.method == "INVITE"
            why = "draining" if self._draining else "too many calls"
            extra = f"Retry-After: {self.options.retry_after_s}\r\n"
            self._refuse(request, transaction, Refusal(503, why, extra), flow, now, out)
        elif request.method == "INVITE":
            self._uas.invited(request, transaction, flow, now, out)
        elif (refusal := self._would_refuse(request.uri)) is not None:
            self._refuse(request, transaction, refusal, flow, now, out)
        else:
            self._options(transaction, flow, now, out)

    def _in_dialog(
        self, leg: Leg, request: Request, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]
    ) -> None:
        dialog = leg.dialog
        if dialog is not None:
            if request.cseq < dialog.remote_seq:
                self._refuse(request, transaction, Refusal(500, "CSeq out of order"), flow, now, out)
                return
            dialog.remote_seq = request.cseq
            dialog.flow = flow
        if request.method == "NOTIFY":
            self._referrer.notified(leg, request, transaction, now, out)
        elif isinstance(leg.state, Ended) or (isinstance(leg.state, HangingUp) and request.method != "BYE"):
            self._refuse(request, transaction, Refusal(481, "the call is over"), flow, now, out)
        elif request.method == "OPTIONS":
            self._options(transaction, flow, now, out)
        else:
            self._uas.in_dialog(leg, request, transaction, flow, now, out)

    def _options(self, transaction: ServerTransaction, flow: Flow, now: float, out: list[Output]) -> None:
        extra = f"{contact_line(self.options, flow)}{self._core.capabilities}Accept: application/sdp\r\n"
        self._core.respond(transaction, 200, now, out, extra=extra)

    def _refuse(
        self,
        request: Request,
        transaction: ServerTransaction,
        refusal: Refusal,
        flow: Flow,
        now: float,
        out: list[Output],
    ) -> None:
        self._core.counters.rejected += 1
        self._core.respond(transaction, refusal.status, now, out, reason=refusal.phrase, extra=refusal.extra)
        out.append(Rejected(flow.remote, refusal.status, request.method, refusal.why))

    # -- without state -----------------------------------------------------------------------------------------------

    def _malformed(self, error: SipParseError, flow: Flow, now: float, out: list[Output]) -> None:
        """Answer what cannot be read, where an answer can find its way; never an ACK, never a response."""
        self._core.counters.malformed += 1
        request = error.partial
        if not error.status or not isinstance(request, Request) or request.method == "ACK" or not request.get("via"):
            return
        if not self._admits(request, flow, now, out):
            return
        self._stateless(request, error.status, error.reason, flow, out)
        out.append(Rejected(flow.remote, error.status, request.method, error.reason))

    def _stateless(
        self, request: Request, status: int, reason: str, flow: Flow, out: list[Output], extra: str = ""
    ) -> None:
        head = response_head(request, flow.remote)
        if "To" in request.fields and "tag=" not in request.fields["To"].lower():
            # The same tag for every copy of the request, without remembering it (RFC 3261 8.2.7).
            head += f";tag={hashlib.blake2b(head.encode('utf-8', 'surrogateescape'), digest_size=8).hexdigest()}"
        data = encode_response(head, status, reason_phrase(status, reason), extra + self._core.server_line)
        out.append(Transmit(reply_flow(request, flow), data))

    def _keepalive(self, data: bytes, flow: Flow, out: list[Output]) -> None:
        """CRLF keep-alives (RFC 5626 3.5.1): a ping on a stream gets its pong; on UDP they only keep a NAT open."""
        self._core.counters.keepalives += 1
        if flow.transport == "TCP" and data == PING:
            out.append(Transmit(flow, PONG))


def _belongs(leg: Leg, request: Request) -> bool:
    """Whether a request with our tag is in the leg's dialog (RFC 3261 12.2.2); a callee's is open until it answers."""
    return leg.call_id == request.call_id and (leg.dialog is None or leg.dialog.remote_tag == request.from_tag)
