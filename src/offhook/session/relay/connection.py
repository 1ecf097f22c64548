"""What becomes of the socket of a relayed conversation."""

from __future__ import annotations

from typing import Literal

import msgspec

from offhook.session.relay import limits


class Connecting(msgspec.Struct, frozen=True):
    """A socket is being opened, for the so-manieth time in a row."""

    attempt: int


class Pausing(msgspec.Struct, frozen=True):
    """It is tried again later."""

    attempt: int
    until: float


class Online(msgspec.Struct, frozen=True):
    """There is a socket, ``since`` that time. ``said``: what upstream has said at most, errors apart.

    After anything it takes this session. Only after an answer, or a while, it is one that can be used.
    """

    attempt: int
    since: float
    said: Literal["nothing", "something", "an answer"] = "nothing"

    def is_proven(self, now: float) -> bool:
        """Say whether the next loss is the first one."""
        return self.said == "an answer" or now - self.since >= limits.PROVEN_S


class Refused(msgspec.Struct, frozen=True):
    """Upstream will never take this session."""

    why: str


class Closed(msgspec.Struct, frozen=True):
    """The conversation has ended."""


ConnectionState = Connecting | Pausing | Online | Refused | Closed
