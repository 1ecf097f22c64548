"""What a session tells besides the events of its server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over; the last event of a session.

    ``reason`` is a word or a line of the server's, "" when it gave none. Offhook tells the rest too: ``result``
    (completed, transferred, failed), ``by`` whom it was ended, and the ``sip_status``. Elsewhere ``result`` is
    "unknown", or "lost" when the connection to a server was lost for good.
    """

    result: str = "unknown"
    by: Literal["caller", "application", "server"] | None = None
    reason: str = ""
    sip_status: int | None = None


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The connection to the server was lost and is there again; what happened in between was not told."""

    lost_s: float
