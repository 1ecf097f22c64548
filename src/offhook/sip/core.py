"""What the calling side, the called side and the transfers of one agent share: the legs, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from offhook.sip.counters import Counters
from offhook.sip.dialog import ALLOW, Dialog
from offhook.sip.flow import Flow
from offhook.sip.layer import TransactionLayer, derive_request
from offhook.sip.leg import (
    ENDED,
    NO_OFFER,
    Abandoning,
    AwaitingAck,
    Calling,
    Cancelling,
    Ended,
    Established,
    HangingUp,
    Leg,
    OurOffer,
    OwedAck,
    Ringing,
    TheirOffer,
)
from offhook.sip.limits import UDP_REQUEST_LIMIT_BYTES
from offhook.sip.message import Response
from offhook.sip.options import AgentOptions
from offhook.sip.output import LegLost, Output, Released
from offhook.sip.response import encode_response, reason_phrase
from offhook.sip.transaction import ClientTransaction, ClientUser, Inform, ServerTransaction

Token = Callable[[int], str]


@dataclass(slots=True)
class ByeUser:
    """Hears the answer to our BYE and lets the leg go."""

    core: Core
    leg: Leg

    def answered(self, _transaction: ClientTransaction, response: Response, now: float, out: list[Output]) -> None:
        if response.status >= 200:
            self.core.release(self.leg, response.status, now, out)

    def failed(self, _transaction: ClientTransaction, _inform: Inform, now: float, out: list[Output]) -> None:
        self.core.release(self.leg, None, now, out)


class Deaf:
    """The user of requests whose answer changes nothing: CANCEL, and BYE to a branch that lost."""

    def answered(self, _transaction: ClientTransaction, response: Response, now: float, out: list[Output]) -> None:
        """Nothing to do."""

    def failed(self, _transaction: ClientTransaction, _inform: Inform, now: float, out: list[Output]) -> None:
        """Nothing to do."""


DEAF = Deaf()


class Core:
    """Legs and transactions of one agent."""

    def __init__(self, options: AgentOptions, token: Token) -> None:
        self.options = options
        self.token = token
        self.counters = Counters()
        self.layer = TransactionLayer(options, self.counters)
        self.legs: dict[str, Leg] = {}
        server = f"Server: {options.product}\r\n" if options.product else ""
        self.capabilities = f"Allow: {ALLOW}\r\nSupported: norefersub\r\n"
        self.server_line = server

    def new_branch(self) -> str:
        """An id for a transaction of ours (RFC 3261 8.1.1.7)."""
        return f"z9hG4bK{self.token(20)}"

    def chance(self, below: int) -> int:
        """An evenly distributed number from 0, for the waits that RFC 3261 wants random."""
        return int(self.token(8), 36) % below

    # -- requests in a dialog ----------------------------------------------------------------------------------------

    def send_in_dialog(
        self,
        dialog: Dialog,
        method: str,
        user: ClientUser,
        now: float,
        out: list[Output],
        *,
        extra: str = "",
        body: bytes = b"",
    ) -> ClientTransaction:
        """Send a request in a dialog and count its CSeq up (RFC 3261 12.2.1.1)."""
        dialog.local_seq += 1
        branch = self.new_branch()
        build = dialog.request(method, dialog.local_seq, branch, self.options, extra, body)
        flow = dialog.next_hop(self.options, self.layer.is_open)
        data = build(flow)
        fallback: tuple[Flow, bytes] | None = None
        if flow.connection:
            # The connection may close before the answer; the request then goes out once more on a new one.
            again = dialog.next_hop(self.options, _nothing_is_open)
            fallback = (again, build(again))
        elif len(data) > UDP_REQUEST_LIMIT_BYTES:
            large = dialog.large_hop(flow, self.options)
            if large is not None:
                fallback = (flow, data)
                flow, data = large, build(large)
        return self.layer.send_request(method, branch, flow, data, user, now, out, fallback=fallback)

    def send_ack(
        self, dialog: Dialog, transaction: ClientTransaction, cseq: int, body: bytes | None, out: list[Output]
    ) -> None:
        """Acknowledge a 2xx: a request of its own in the dialog, with the INVITE's CSeq number (RFC 3261 13.2.2.4)."""
        flow = dialog.next_hop(self.options, self.layer.is_open)
        build = dialog.request("ACK", cseq, self.new_branch(), self.options, body=body or b"")
        self.layer.send_ack(transaction, dialog.remote_tag, flow, build(flow), out)

    def send_cancel(self, transaction: ClientTransaction, reason: str | None, now: float, out: list[Output]) -> None:
        """Cancel our INVITE, which has had a provisional response (RFC 3261 9.1)."""
        branch = transaction.key.partition(" ")[0]
        data = derive_request(transaction.sent, "CANCEL", extra=reason_line(reason))
        self.layer.send_request("CANCEL", branch, transaction.flow, data, DEAF, now, out)

    # -- endings -----------------------------------------------------------------------------------------------------

    def send_bye(self, leg: Leg, reason: str | None, now: float, out: list[Output], *, told: bool) -> None:
        """End an established leg with BYE; pending requests of the peer are answered first (RFC 3261 15.1.1)."""
        dialog = leg.dialog
        if dialog is None:
            return
        if isinstance(leg.offering, OwedAck):
            self.send_ack(dialog, leg.offering.transaction, leg.offering.cseq, None, out)
        self._settle(leg, now, out)
        leg.state = HangingUp(told)
        self.send_in_dialog(dialog, "BYE", ByeUser(self, leg), now, out, extra=reason_line(reason))

    def lose(self, leg: Leg, cause: str, now: float, out: list[Output]) -> None:
        """The leg cannot go on: tell the host, and the peer by BYE (RFC 3261 12.2.1.2, 13.3.1.4)."""
        match leg.state:
            case Established() | AwaitingAck():
                self.counters.legs_lost += 1
                out.append(LegLost(leg, cause))
                self.send_bye(leg, None, now, out, told=True)
            case Ringing() | Calling() | Abandoning() | Cancelling() | HangingUp() | Ended():
                pass

    def release(self, leg: Leg, status: int | None, now: float, out: list[Output]) -> None:
        """What the host asked to end has ended; it is told so unless it already knows."""
        match leg.state:
            case HangingUp(told=True) | Abandoning(told=True) | Cancelling(told=True):
                self.end(leg, None, now, out)
            case _:
                self.end(leg, Released(leg, status), now, out)

    def end(self, leg: Leg, ending: Output | None, now: float, out: list[Output]) -> None:
        """Take the leg off the books. One with a transfer under way stays known for its NOTIFYs (RFC 5057 4.1)."""
        if isinstance(leg.state, Ended):
            return
        self._settle(leg, now, out)
        leg.state = ENDED
        leg.invite = None
        if ending is not None:
            out.append(ending)
        if not leg.transfers:
            self.legs.pop(leg.id, None)
        for transfer in leg.transfers:
            # Many carriers hang up before the last NOTIFY; it is waited for, but not for minutes.
            self.layer.deadlines.set(transfer, min(transfer.due, now + self.options.give_up_s))

    def _settle(self, leg: Leg, now: float, out: list[Output]) -> None:
        """Stop all that a leg is doing: a pending request of the peer gets 487 (RFC 3261 15.1.2)."""
        offering = leg.offering
        leg.offering = NO_OFFER
        leg.wanted = None
        self.layer.deadlines.clear(leg)
        for acceptance in leg.unacknowledged:
            self.layer.deadlines.clear(acceptance)
        leg.unacknowledged = ()
        if isinstance(offering, TheirOffer):
            self.respond(offering.transaction, 487, now, out)
        elif isinstance(offering, OurOffer):
            self.layer.give_up_later(offering.transaction, now)

    # -- responses ---------------------------------------------------------------------------------------------------

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        out: list[Output],
        *,
        reason: str | None = None,
        extra: str = "",
        body: bytes = b"",
    ) -> bytes:
        """Send a response of the agent's own; returns its bytes."""
        data = encode_response(transaction.head, status, reason_phrase(status, reason), extra + self.server_line, body)
        self.layer.respond(transaction, status, data, now, out)
        return data


def _nothing_is_open(_flow: Flow) -> bool:
    return False


def reason_line(reason: str | None) -> str:
    """The Reason header (RFC 3326), empty for none."""
    return "" if reason is None else f"Reason: {' '.join(reason.split())}\r\n"
