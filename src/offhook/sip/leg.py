"""A leg: one telephone call between the agent and a peer, from its INVITE to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from offhook.sip.dialog import Dialog
from offhook.sip.message import Request
from offhook.sip.timer import Timed
from offhook.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from offhook.sip.refer import Transfer

# -- the life of a leg ----------------------------------------------------------------------------------------------


class Ringing(msgspec.Struct, frozen=True):
    """Called, not answered yet.

    ``offered`` says whether the caller's INVITE carried a description, ``cseq`` is its number.
    """

    transaction: ServerTransaction
    cseq: int
    offered: bool


class Calling(msgspec.Struct, frozen=True):
    """Calling, no final response yet."""

    transaction: ClientTransaction


class Abandoning(msgspec.Struct, frozen=True):
    """Calling no more, but CANCEL has to wait for a provisional response (RFC 3261 9.1).

    ``told`` when the host knows of the end.
    """

    transaction: ClientTransaction
    reason: str | None
    told: bool


class Cancelling(msgspec.Struct, frozen=True):
    """CANCEL is sent, the INVITE's final response is awaited."""

    transaction: ClientTransaction
    told: bool


class Established(msgspec.Struct, frozen=True):
    """Answered with 2xx, by us or by the peer."""


class AwaitingAck(msgspec.Struct, frozen=True):
    """Hung up by the host before the ACK of our 2xx: the BYE has to wait for it (RFC 3261 15)."""

    reason: str | None


class HangingUp(msgspec.Struct, frozen=True):
    """BYE is sent. ``told`` when the host knows of the end."""

    told: bool


class Ended(msgspec.Struct, frozen=True):
    """Over. The leg stays known only while a transfer is still being told of."""


LegState = Ringing | Calling | Abandoning | Cancelling | Established | AwaitingAck | HangingUp | Ended

# -- changes of the session within an established leg ---------------------------------------------------------------


class NoOffer(msgspec.Struct, frozen=True):
    """No re-INVITE or UPDATE is under way."""


class TheirOffer(msgspec.Struct, frozen=True):
    """The peer's re-INVITE or UPDATE waits for the host.

    ``request`` is kept for its Contact, ``offered`` as in Ringing.
    """

    transaction: ServerTransaction
    request: Request
    offered: bool


class OurOffer(msgspec.Struct, frozen=True):
    """Our re-INVITE waits for the peer."""

    transaction: ClientTransaction


class OfferRefused(msgspec.Struct, frozen=True):
    """The peer's re-INVITE was refused; none of ours may go out before its ACK has come (RFC 3261 14.1)."""

    transaction: ServerTransaction


class BackingOff(msgspec.Struct, frozen=True):
    """Our re-INVITE met one of the peer's and will be sent again (491, RFC 3261 14.1)."""

    until: float


class OwedAck(msgspec.Struct, frozen=True):
    """The peer answered our INVITE without offer; the host has to give the answer that goes into the ACK."""

    transaction: ClientTransaction
    cseq: int


Offering = NoOffer | OfferRefused | TheirOffer | OurOffer | BackingOff | OwedAck


class WantedOffer(msgspec.Struct, frozen=True):
    """A re-INVITE that the host asked for and that has not been accepted yet.

    ``body`` None asks the peer for its offer.
    """

    body: bytes | None
    glares: int = 0


NO_OFFER = NoOffer()
ESTABLISHED = Established()
ENDED = Ended()


class Acceptance(Timed):
    """A 2xx of ours that is repeated until its ACK comes (RFC 3261 13.3.1.4)."""

    __slots__ = ("cseq", "data", "give_up_at", "interval_s", "is_first", "leg", "offered", "transaction")

    def __init__(
        self, leg: Leg, transaction: ServerTransaction, data: bytes, cseq: int, *, offered: bool, is_first: bool
    ) -> None:
        super().__init__()
        self.leg = leg
        self.transaction = transaction
        self.data = data
        self.cseq = cseq
        self.offered = offered
        self.is_first = is_first
        self.interval_s = 0.0
        self.give_up_at = 0.0


class Leg(Timed):
    """One call. ``id`` is our tag of its dialog, unguessable and unique in the process.

    ``incoming`` says who called. ``invite`` is the caller's INVITE as received, until it is answered. ``dialog`` is
    None until our own INVITE is answered. Hosts read; only the agent writes.
    """

    __slots__ = (
        "call_id",
        "dialog",
        "id",
        "incoming",
        "invite",
        "offering",
        "state",
        "transfers",
        "unacknowledged",
        "wanted",
    )

    def __init__(self, leg_id: str, call_id: str, state: LegState, *, incoming: bool) -> None:
        super().__init__()
        self.id = leg_id
        self.call_id = call_id
        self.incoming = incoming
        self.state: LegState = state
        self.dialog: Dialog | None = None
        self.invite: Request | None = None
        self.offering: Offering = NO_OFFER
        self.wanted: WantedOffer | None = None
        self.unacknowledged: tuple[Acceptance, ...] = ()
        self.transfers: tuple[Transfer, ...] = ()

    @property
    def local_tag(self) -> str:
        """Our tag."""
        return self.id

    @property
    def remote_tag(self) -> str:
        """The peer's tag, "" while it is unknown or when the peer sends none (RFC 2543)."""
        return self.dialog.remote_tag if self.dialog is not None else ""

    @property
    def remote_target(self) -> str | None:
        """The URI that our requests are sent to: the peer's last Contact."""
        return self.dialog.target if self.dialog is not None else None

    def __repr__(self) -> str:
        return f"<Leg {self.id} {type(self.state).__name__}>"
