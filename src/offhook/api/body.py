"""The body of a request, of a limited size."""

from __future__ import annotations

from starlette.types import Receive

from offhook.errors import ApiProblem
from offhook.wire import limits


async def read_body(receive: Receive) -> bytes:
    """Return the body.

    Raises ApiProblem 413 for a larger one than any call action needs, 400 for one that broke off.
    """
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ApiProblem(400, None, "The request broke off.")
        body += message.get("body", b"")
        if len(body) > limits.MAX_CALL_BODY_BYTES:
            text = f"The request body is larger than {limits.MAX_CALL_BODY_BYTES} bytes."
            raise ApiProblem(413, "request_too_large", text)
        if not message.get("more_body", False):
            return body
