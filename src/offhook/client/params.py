"""Parameters that only a client writes down. The others are those of the server: ``offhook.wire``."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from offhook.wire.session import SessionParams, Wire


class CallCreateParams(Wire, frozen=True, kw_only=True):
    """The parameters of ``calls.create``."""

    sdp: str
    """The browser's offer."""
    session: SessionParams | UnsetType = UNSET
    """The session, as for ``accept``. Default: that of the client secret used as key, else the server's."""
