"""What can go wrong with a SIP message, a session description or a wish of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from offhook.errors import LocalError, RemoteError

if TYPE_CHECKING:
    from offhook.sip.message import Request, Response


class SipParseError(RemoteError):
    """A SIP message, or a part of one, breaks the grammar of RFC 3261 section 25.

    ``status`` is the response code the fault asks for (400, 413, 416, 505, 513), or 0 when the bytes deserve no answer.
    ``partial`` is the message as far as it could be read; None for a part of a message.
    """

    def __init__(self, status: int, reason: str, partial: Request | Response | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.partial = partial


class SdpError(RemoteError):
    """A session description cannot be used (RFC 8866, RFC 3264)."""


class NoCommonCodec(SdpError):  # noqa: N818 - the name says what happened
    """No media line of the description can be answered with a codec of ours: the call gets 488 (RFC 3261 21.4.26)."""


class LegStateError(LocalError):
    """The host asked for something that the leg's state does not allow, such as answering it twice."""
