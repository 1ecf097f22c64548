"""Parameters that only a client writes down. The others are those of the server: ``offhook.wire``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from offhook.wire.session import SessionParams, Wire


class ExpiresAfter(Wire, frozen=True, kw_only=True):
    """How long a client secret opens sessions."""

    anchor: Literal["created_at"] = "created_at"
    """From when: its making."""
    seconds: Annotated[int, Meta(ge=10, le=7200)] = 600
    """10 to 7200. Default: 600."""


class ClientSecretCreateParams(Wire, frozen=True, kw_only=True):
    """The parameters of ``client_secrets.create``."""

    expires_after: ExpiresAfter | UnsetType = UNSET
    """How long it opens sessions. Default: 600 seconds."""
    session: SessionParams | dict[str, Any] | UnsetType = UNSET
    """The session that it opens, or a transcription session as a dict. Default: the server's."""


class CallCreateParams(Wire, frozen=True, kw_only=True):
    """The parameters of ``calls.create``."""

    sdp: str
    """The browser's offer."""
    session: SessionParams | UnsetType = UNSET
    """The session, as for ``accept``. Default: that of the client secret used as key, else the server's."""
