"""Every call of the API as a value: where it goes, what it carries, and how its answer is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from offhook.client.answer import Answer, BinaryResponse
from offhook.client.request import Operation, call_path, present, write_call

if TYPE_CHECKING:
    from offhook.client.secret import ClientSecret

ANY = "*/*"
JSON = "application/json"
SDP = "application/sdp"


def action(call_id: str, name: str, members: dict[str, Any] | None) -> Operation:
    """Return an action on a call. Raises ValueError for an id that names no call."""
    return Operation(call_path(call_id, name), ANY, None if members is None else present(members))


def create_call(sdp: str, session: object) -> Operation:
    """Return the making of a WebRTC call."""
    return Operation(
        "/realtime/calls", SDP, {"sdp": sdp} if session is UNSET else {"sdp": sdp, "session": session}, write_call
    )


def create_client_secret(expires_after: object, session: object) -> Operation:
    """Return the making of a client secret."""
    return Operation("/realtime/client_secrets", JSON, present({"expires_after": expires_after, "session": session}))


def read_nothing(_: Answer) -> None:
    """Read the answer to an action: that it came is all it says."""


def read_call(answer: Answer) -> BinaryResponse:
    """Read the answer to ``create``."""
    return BinaryResponse(answer)


def read_client_secret(answer: Answer) -> ClientSecret:
    """Read a client secret. Raises APIResponseValidationError."""
    # The session's types take longer to load than all else a client needs.
    from offhook.client.secret import decode_secret

    return decode_secret(answer)
