"""What server events have in common."""

from __future__ import annotations

from msgspec import Struct

from offhook.wire.session import tag_of


class ServerEventBase(Struct, frozen=True, kw_only=True):
    """What all server events have in common."""

    event_id: str

    @property
    def type(self) -> str:
        """The event's name, such as ``"response.done"``."""
        return tag_of(self)


class Tagged(Struct, frozen=True, kw_only=True):
    """A structure that is told apart by its ``type``."""

    @property
    def type(self) -> str:
        """The member ``type``."""
        return tag_of(self)
