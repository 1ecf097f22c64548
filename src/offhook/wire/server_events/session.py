"""Events about the session as a whole: what it is, what was refused, and what is left of its limits."""

from __future__ import annotations

from msgspec import Struct

from offhook.wire.server_events.common import ServerEventBase
from offhook.wire.session import Session


class SessionCreated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.created"):
    """The first event of a session's own socket."""

    session: Session


class SessionUpdated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="session.updated"):
    """An update was accepted; carries the whole effective session."""

    session: Session


class ErrorDetails(Struct, frozen=True, kw_only=True):
    """What was wrong; ``event_id`` names the client's event."""

    type: str
    message: str
    code: str | None = None
    param: str | None = None
    event_id: str | None = None


class ErrorEvent(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """Something was refused or failed; the session goes on."""

    error: ErrorDetails


class RateLimit(Struct, frozen=True, kw_only=True):
    """One limit and what is left of it."""

    name: str
    limit: int
    remaining: int
    reset_seconds: float


class RateLimitsUpdated(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="rate_limits.updated"):
    """Follows every ``response.done``."""

    rate_limits: tuple[RateLimit, ...]
