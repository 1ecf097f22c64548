"""What a caller's INVITE said that the rest of the server wants to know."""

from __future__ import annotations

import msgspec

from offhook.sip.leg import Leg
from offhook.sip.message import Request
from offhook.sip.sdp import Offer
from offhook.wire.calls import SipHeader

# They hold credentials, which an application has no business with.
_HIDDEN = frozenset({"authorization", "proxy-authorization"})


class Invitation(msgspec.Struct, frozen=True):
    """One incoming call before it is decided about. ``offer`` is None when the caller wants ours."""

    leg: Leg
    request: Request
    offer: Offer | None

    def headers(self) -> tuple[SipHeader, ...]:
        """Return the headers of the INVITE with their names, values, order and repeats as they came."""
        return tuple(
            SipHeader(_readable(name), _readable(value))
            for name, value in self.request.headers
            if name.lower() not in _HIDDEN
        )


def _readable(text: str) -> str:
    """Bytes that are no UTF-8 cannot stand in JSON; they are shown as the replacement character."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
