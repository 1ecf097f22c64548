"""What a caller's INVITE said that the rest of the server wants to know."""

from __future__ import annotations

from dataclasses import dataclass

from offhook.sip.leg import Leg
from offhook.sip.message import Request
from offhook.sip.sdp import Offer
from offhook.wire.calls import SipHeader

# They hold credentials, which an application has no business with.
_HIDDEN = frozenset({"authorization", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Invitation:
    """One incoming call before it is decided about. ``offer`` is None when the caller wants ours."""

    leg: Leg
    headers: tuple[SipHeader, ...]
    offer: Offer | None


def read_invitation(leg: Leg, request: Request, offer: Offer | None) -> Invitation:
    """Return what matters of an INVITE: headers with their names, values, order and repeats as they came."""
    headers = tuple(
        SipHeader(_readable(name), _readable(value)) for name, value in request.headers if name.lower() not in _HIDDEN
    )
    return Invitation(leg, headers, offer)


def _readable(text: str) -> str:
    """Bytes that are no UTF-8 cannot stand in JSON; they are shown as the replacement character."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
