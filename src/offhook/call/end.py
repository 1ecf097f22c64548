"""How a call ended, as one value. Status, log line, metric and record are all read from it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Result(StrEnum):
    """The class of an ending."""

    COMPLETED = "completed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    UNANSWERED = "unanswered"
    TRANSFERRED = "transferred"
    FAILED = "failed"


class By(StrEnum):
    """Who ended it."""

    CALLER = "caller"
    APPLICATION = "application"
    SERVER = "server"


class End(msgspec.Struct, frozen=True):
    """``reason`` is one word for machines, ``detail`` a line for people, ``sip_status`` what the caller's side got."""

    result: Result
    by: By
    reason: str
    sip_status: int | None = None
    detail: str = ""
