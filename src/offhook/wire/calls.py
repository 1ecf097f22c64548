"""The bodies of the call actions, the webhook's payload, and small answers. Source: API reference, "Calls"."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from offhook.wire import limits
from offhook.wire.session import Wire

RejectStatus = Annotated[int, Meta(ge=limits.MIN_REJECT_STATUS, le=limits.MAX_REJECT_STATUS)]


class RejectParams(Wire, frozen=True, kw_only=True):
    """The body of ``reject``. ``status_code`` is the SIP status the caller gets: 300 to 699, 603 when absent."""

    status_code: RejectStatus | None | UnsetType = UNSET
    """300 to 699. Default: 603 (Decline)."""


class ReferParams(Wire, frozen=True, kw_only=True):
    """The body of ``refer``. ``target_uri`` goes into ``Refer-To`` unchanged: ``tel:``, ``sip:`` or ``sips:``."""

    target_uri: Annotated[str, Meta(min_length=1, max_length=limits.MAX_TARGET_URI_CHARS)]
    """``tel:+14155550123``, ``sip:agent@example.com``; 1,024 characters at most."""


class SipHeader(Struct, frozen=True):
    """A header of the INVITE as it was received. Untrusted input."""

    name: str
    """As it came."""
    value: str
    """As it came."""


class IncomingCall(Struct, frozen=True, kw_only=True):
    """What the webhook says about a call."""

    call_id: str
    """What the actions and sockets take."""
    sip_headers: tuple[SipHeader, ...]
    """Names, values, repeats and order as received."""
    sip_media_security: str | UnsetType = UNSET
    """``rtp``, ``srtp`` or another; absent when unknown."""


class RealtimeCallIncoming(Struct, frozen=True, kw_only=True):
    """The payload of the ``realtime.call.incoming`` webhook; ``created_at`` in Unix seconds."""

    id: str
    created_at: int
    data: IncomingCall
    object: Literal["event"] = "event"
    type: Literal["realtime.call.incoming"] = "realtime.call.incoming"
