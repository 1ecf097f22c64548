"""What the user agent tells its driver to do, and what it tells the host.

``Transmit`` is for the driver. Every leg yields any number of outputs and then exactly one ending: ``Cancelled``,
``Refused``, ``HungUp``, ``LegLost`` or ``Released``; only the outcome of a transfer may follow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from offhook.sip.flow import Flow

if TYPE_CHECKING:
    from offhook.sip.leg import Leg
    from offhook.sip.message import Request, Response

ReferId = int
"""Names a transfer within its leg: the CSeq number of the REFER (RFC 3515 2.4.6)."""


class Transmit(msgspec.Struct, frozen=True):
    """Send ``data`` on ``flow``."""

    flow: Flow
    data: bytes


class Invited(msgspec.Struct, frozen=True):
    """A call came in. ``offer`` is the caller's session description, None when ours is wanted in the 200."""

    leg: Leg
    request: Request
    offer: bytes | None


class Cancelled(msgspec.Struct, frozen=True):
    """The caller gave up before an answer, by CANCEL or BYE; all responses are sent.

    ``reason`` is the Reason header (RFC 3326).
    """

    leg: Leg
    reason: str | None = None


class Confirmed(msgspec.Struct, frozen=True):
    """The first ACK to a 2xx of ours came; ``body`` is the answer when the 2xx carried our offer, else None.

    What an ACK says although the peer's own offer is answered is left unread (RFC 3264 4: one answer to an offer).
    """

    leg: Leg
    body: bytes | None


class Reoffered(msgspec.Struct, frozen=True):
    """The peer wants to change the session: answer with ``answer_offer``.

    ``method`` is INVITE or UPDATE; ``body`` is the offer, None when ours is wanted in the 200 to a re-INVITE.
    """

    leg: Leg
    method: str
    body: bytes | None


class OfferWithdrawn(msgspec.Struct, frozen=True):
    """The peer cancelled its re-INVITE before it was answered; the session stays as it was."""

    leg: Leg


class Progressed(msgspec.Struct, frozen=True):
    """A provisional response above 100 to our INVITE; ``body`` is early media's description, if any."""

    leg: Leg
    status: int
    reason: str
    body: bytes | None


class Answered(msgspec.Struct, frozen=True):
    """Our INVITE was answered.

    The ACK is sent, except after an INVITE without offer: then ``body`` is the peer's offer and the host calls
    ``acknowledge``.
    """

    leg: Leg
    response: Response
    body: bytes | None


class Refused(msgspec.Struct, frozen=True):
    """Our INVITE failed.

    ``response`` is None when none came: 408 for silence, 503 for a dead transport (RFC 3261 8.1.3.1).
    """

    leg: Leg
    status: int
    reason: str
    response: Response | None


class Reanswered(msgspec.Struct, frozen=True):
    """Our re-INVITE was answered. As with ``Answered``, the host owes an ``acknowledge`` when it made no offer."""

    leg: Leg
    body: bytes | None


class ReofferRefused(msgspec.Struct, frozen=True):
    """Our re-INVITE failed; the session stays as it was (RFC 3261 14.1)."""

    leg: Leg
    status: int
    reason: str


class HungUp(msgspec.Struct, frozen=True):
    """The peer's BYE; it is answered. ``reason`` is its Reason header (RFC 3326)."""

    leg: Leg
    reason: str | None


class LegLost(msgspec.Struct, frozen=True):
    """The leg is over without anybody's wish; ``cause`` says why in words.

    A BYE was sent where the RFC asks for one.
    """

    leg: Leg
    cause: str


class Released(msgspec.Struct, frozen=True):
    """The host's ``reject`` or ``hang_up`` is done.

    ``status`` is what ended it: the refusal, the answer to BYE, None for silence.
    """

    leg: Leg
    status: int | None


class ReferSent(msgspec.Struct, frozen=True):
    """A REFER went out."""

    leg: Leg
    refer_id: ReferId


class ReferAnswered(msgspec.Struct, frozen=True):
    """The peer answered the REFER; 2xx means that it will try (RFC 3515 2.4.2).

    408 and 503 stand for silence and a dead transport.
    """

    leg: Leg
    refer_id: ReferId
    status: int
    reason: str


class ReferProgressed(msgspec.Struct, frozen=True):
    """A NOTIFY told how the transfer goes: a provisional status of the new call."""

    leg: Leg
    refer_id: ReferId
    status: int
    reason: str


class ReferEnded(msgspec.Struct, frozen=True):
    """The transfer is over, told exactly once.

    ``status`` is the new call's final status or the refusal of the REFER, None when nobody ever said; ``reason`` says
    the rest in words.
    """

    leg: Leg
    refer_id: ReferId
    status: int | None
    reason: str


class InfoReceived(msgspec.Struct, frozen=True):
    """An INFO in a dialog, already answered 200 (RFC 6086); DTMF comes as application/dtmf-relay."""

    leg: Leg
    content_type: str
    body: bytes


class Rejected(msgspec.Struct, frozen=True):
    """The agent refused a request on its own; for the log.

    ``why`` is in words. ``status`` is 0 when there was no answer, which is told once a source; ``method`` is "" when
    the request was not even read.
    """

    source: tuple[str, int]
    status: int
    method: str
    why: str


Output = (
    Transmit
    | Invited
    | Cancelled
    | Confirmed
    | Reoffered
    | OfferWithdrawn
    | Progressed
    | Answered
    | Refused
    | Reanswered
    | ReofferRefused
    | HungUp
    | LegLost
    | Released
    | ReferSent
    | ReferAnswered
    | ReferProgressed
    | ReferEnded
    | InfoReceived
    | Rejected
)
