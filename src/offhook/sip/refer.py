"""Transfers: REFER in the call's dialog, and the NOTIFYs that tell what became of it (RFC 3515, RFC 6665, RFC 7647)."""

from __future__ import annotations

import re
from typing import assert_never

import msgspec

from offhook.errors import LocalError
from offhook.sip.core import Core
from offhook.sip.errors import LegStateError, SipParseError
from offhook.sip.header import ValueWithParams, parse_value
from offhook.sip.leg import (
    Abandoning,
    AwaitingAck,
    Calling,
    Cancelling,
    Ended,
    Established,
    HangingUp,
    Leg,
    Ringing,
)
from offhook.sip.limits import MAX_REFERS, MAX_SIPFRAG_BYTES
from offhook.sip.message import Request, Response
from offhook.sip.output import Output, ReferAnswered, ReferEnded, ReferId, ReferProgressed, ReferSent
from offhook.sip.response import header_lines, reason_phrase
from offhook.sip.timer import Timed
from offhook.sip.transaction import ClientTransaction, Inform, ServerTransaction
from offhook.sip.uri import scheme_of

_FRAGMENT_LINE = re.compile(rb"[ \t\r\n]*+SIP/2\.0 ([0-9]{3})(?: ([^\r\n]*+))?", re.IGNORECASE)
_MAX_EXPIRES_S = 3600


class Asked(msgspec.Struct, frozen=True):
    """REFER is sent, nothing has come back."""


class Taken(msgspec.Struct, frozen=True):
    """REFER was answered with 2xx, no NOTIFY has come: one must within 64*T1 (RFC 6665 4.1.2.4, timer N)."""


class Reported(msgspec.Struct, frozen=True):
    """A NOTIFY has come, perhaps ahead of the REFER's own response; ``status`` is the last report, 0 for none."""

    status: int


TransferState = Asked | Taken | Reported


class Transfer(Timed):
    """One REFER of ours on a leg. ``id`` is its CSeq number, which a NOTIFY's Event header may repeat."""

    __slots__ = ("id", "leg", "state")

    def __init__(self, leg: Leg, refer_id: ReferId) -> None:
        super().__init__()
        self.leg = leg
        self.id = refer_id
        self.state: TransferState = Asked()


class _ReferUser(msgspec.Struct):
    """Hears the answer to a REFER."""

    referrer: Referrer
    transfer: Transfer

    def answered(self, _transaction: ClientTransaction, response: Response, now: float, out: list[Output]) -> None:
        if response.status >= 200:
            self.referrer.answered(self.transfer, response, now, out)

    def failed(self, _transaction: ClientTransaction, inform: Inform, _now: float, out: list[Output]) -> None:
        if isinstance(self.transfer.state, Reported):
            return  # a NOTIFY said already that the REFER was taken; only its response got lost (RFC 6665 4.1.2.4)
        status = 408 if inform is Inform.TIMEOUT else 503
        self.referrer.refused(self.transfer, status, reason_phrase(status), out)


class Referrer:
    """The transfers of one agent."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def refer(
        self, leg: Leg, target: str, headers: tuple[tuple[str, str], ...], now: float, out: list[Output]
    ) -> ReferId:
        """Ask the peer to call ``target`` instead of us.

        Raises LocalError when the target is no tel, sip or sips URI of one line, LegStateError when the leg is not
        established.
        """
        if (
            not target
            or any(char in target for char in "\r\n\0<> \t")
            or scheme_of(target) not in ("tel", "sip", "sips")
        ):
            raise LocalError("a transfer target must be a tel:, sip: or sips: URI")
        dialog = leg.dialog
        match leg.state:
            case Established() if dialog is not None:
                pass
            case _:
                raise LegStateError(f"cannot transfer a leg that is {type(leg.state).__name__}")
        if len(leg.transfers) >= MAX_REFERS:
            raise LegStateError(f"{MAX_REFERS} transfers are under way on this leg")
        transfer = Transfer(leg, dialog.local_seq + 1)
        leg.transfers = (*leg.transfers, transfer)
        referred_by = dialog.local.rpartition(";tag=")[0]
        extra = (
            f"Refer-To: <{target}>\r\nReferred-By: {referred_by}\r\nSupported: norefersub\r\n{header_lines(headers)}"
        )
        self._core.send_in_dialog(dialog, "REFER", _ReferUser(self, transfer), now, out, extra=extra)
        out.append(ReferSent(leg, transfer.id))
        return transfer.id

    # -- the answer to REFER -----------------------------------------------------------------------------------------

    def answered(self, transfer: Transfer, response: Response, now: float, out: list[Output]) -> None:
        """The REFER's final response. 200 and 202 mean the same (RFC 7647 3)."""
        if response.status >= 300:
            self.refused(transfer, response.status, response.reason, out)
            return
        if transfer not in transfer.leg.transfers:
            return  # its NOTIFYs were all here before it
        out.append(ReferAnswered(transfer.leg, transfer.id, response.status, response.reason))
        if (response.get("refer-sub") or "").strip().lower().startswith("false"):
            self._end(transfer, None, "the peer reports no outcome (Refer-Sub: false)", out)
            return
        match transfer.state:
            case Asked():
                transfer.state = Taken()
                self._core.layer.deadlines.set(transfer, now + self._core.options.give_up_s)
            case Reported() | Taken():
                pass
            case _:
                assert_never(transfer.state)

    def refused(self, transfer: Transfer, status: int, reason: str, out: list[Output]) -> None:
        """The peer will not transfer. The call goes on: 408 and 481 end the REFER's own usage only (RFC 5057 5.1)."""
        if transfer not in transfer.leg.transfers:
            return
        out.append(ReferAnswered(transfer.leg, transfer.id, status, reason))
        self._end(transfer, status, reason, out)

    # -- NOTIFY ------------------------------------------------------------------------------------------------------

    def notified(
        self, leg: Leg, request: Request, transaction: ServerTransaction, now: float, out: list[Output]
    ) -> None:
        """A NOTIFY in the leg's dialog: 200 when it belongs to a transfer, else 481, or 489 for another event."""
        core = self._core
        event = _read(request.get("event"))
        if event.value != "refer":
            core.respond(transaction, 489 if event.value else 481, now, out)
            return
        transfer = self._find(leg, event.param("id"))
        if transfer is None:
            core.respond(transaction, 481, now, out)
            return
        core.respond(transaction, 200, now, out)
        subscription = _read(request.get("subscription-state"))
        report = read_sipfrag(request.body)
        if report is not None and report[0] >= 200:
            self._end(transfer, report[0], report[1], out)
            return
        if subscription.value == "terminated":
            why = subscription.param("reason") or "no reason given"
            self._end(transfer, None, f"the peer stopped reporting: {why}", out)
            return
        transfer.state = Reported(report[0] if report is not None else 0)
        core.layer.deadlines.set(transfer, now + self._patience_s(subscription))
        if report is not None:
            out.append(ReferProgressed(leg, transfer.id, report[0], report[1]))

    def due(self, transfer: Transfer, out: list[Output]) -> None:
        """The news did not come in time."""
        why = "no report of the outcome" if isinstance(transfer.state, Reported) else "no NOTIFY came"
        self._end(transfer, None, why, out)

    def _patience_s(self, subscription: ValueWithParams) -> float:
        text = subscription.param("expires") or ""
        patience_s = self._core.options.refer_patience_s
        if text.isascii() and text.isdecimal() and len(text) < 10:
            # What the peer promises counts when it is shorter than our patience, but not below one transaction.
            return max(self._core.options.give_up_s, min(patience_s, float(min(int(text), _MAX_EXPIRES_S))))
        return patience_s

    def _find(self, leg: Leg, event_id: str | None) -> Transfer | None:
        if not leg.transfers:
            return None
        if event_id is None:
            # Only the first REFER of a dialog may be reported without id (RFC 3515 2.4.6).
            return leg.transfers[0]
        return next((transfer for transfer in leg.transfers if str(transfer.id) == event_id), None)

    def _end(self, transfer: Transfer, status: int | None, reason: str, out: list[Output]) -> None:
        leg = transfer.leg
        if transfer not in leg.transfers:
            return
        leg.transfers = tuple(other for other in leg.transfers if other is not transfer)
        self._core.layer.deadlines.clear(transfer)
        out.append(ReferEnded(leg, transfer.id, status, reason))
        match leg.state:
            case Ended() if not leg.transfers:
                self._core.legs.pop(leg.id, None)
            case (
                Ended()
                | HangingUp()
                | Established()
                | AwaitingAck()
                | Ringing()
                | Calling()
                | Abandoning()
                | Cancelling()
            ):
                pass
            case _:
                assert_never(leg.state)


def read_sipfrag(body: bytes) -> tuple[int, str] | None:
    """Status and reason of the status line in a message/sipfrag body (RFC 3420), None when there is none."""
    found = _FRAGMENT_LINE.match(body[:MAX_SIPFRAG_BYTES])
    if found is None:
        return None
    status = int(found[1])
    if not 100 <= status <= 699:
        return None
    return status, (found[2] or b"").decode("utf-8", "replace").strip()


def _read(value: str | None) -> ValueWithParams:
    if value is None:
        return ValueWithParams("")
    try:
        return parse_value(value)
    except SipParseError:
        return ValueWithParams(value.partition(";")[0].strip().lower())
