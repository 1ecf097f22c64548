"""What a request can fail with: one class for each status that has a meaning of its own.

::

    OffhookError
    ├── LocalError
    │   └── ConfigError                      a setting that cannot work: key, message, mend
    └── RemoteError
        ├── APIError                         request, body, message, code, param, type
        │   ├── APIConnectionError           nothing came back
        │   │   ├── APITimeoutError          not in time
        │   │   └── ConnectionClosedError    a WebSocket is closed: code, reason
        │   ├── APIResponseValidationError   something came back that is not of this API
        │   └── APIStatusError               status_code, request_id, headers
        │       ├── RedirectError            3xx that leads elsewhere
        │       ├── BadRequestError          400
        │       ├── AuthenticationError      401
        │       ├── PermissionDeniedError    403
        │       ├── NotFoundError            404
        │       ├── ConflictError            409
        │       ├── UnprocessableEntityError 422
        │       ├── RateLimitError           429
        │       └── InternalServerError      500 and above
        └── InvalidWebhookSignatureError     also a ValueError

Names and members are those of the official package. Source: API reference, "Errors".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offhook.client.limits import MAX_SHOWN_CHARS
from offhook.errors import RemoteError

if TYPE_CHECKING:
    from offhook.client.answer import Answer, Headers
    from offhook.client.request import Request


class APIError(RemoteError):
    """A request failed.

    ``body`` is what the server sent as its ``error`` object, or the whole body where there is none; ``message``,
    ``code``, ``param`` and ``type`` are members of it. ``request`` shows no key when it is printed.
    """

    def __init__(self, message: str, request: Request | None = None, *, body: object | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.request = request
        self.body = body
        members = body if isinstance(body, dict) else {}
        self.code = _text(members.get("code"))
        self.param = _text(members.get("param"))
        self.type = _text(members.get("type"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it travel to another process, without the request: that holds a key."""
        return _rebuilt, (type(self), self.args, self.__dict__ | {"request": None})


def _rebuilt(kind: type[APIError], args: tuple[Any, ...], members: dict[str, Any]) -> APIError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(members)
    return error


class APIConnectionError(APIError):
    """The server could not be reached, or the connection broke before the answer was there."""


class APITimeoutError(APIConnectionError):
    """The answer was not there in time."""


class ConnectionClosedError(APIConnectionError):
    """The WebSocket is closed. ``code`` is the close code (RFC 6455 7.4), ``reason`` what the server said to it."""

    def __init__(self, close_code: int, reason: str) -> None:
        shown = f": {_shown(reason)}" if reason else "."
        super().__init__(f"The connection is closed ({close_code}){shown}")
        self.close_code = close_code
        self.reason = reason


class APIResponseValidationError(APIError):
    """The answer cannot be read as one of this API."""


class APIStatusError(APIError):
    """The server refused. ``headers`` are those of its answer, ``request_id`` its name for the request."""

    def __init__(self, message: str, answer: Answer, request: Request | None, *, body: object | None) -> None:
        super().__init__(message, request, body=body)
        self.status_code: int = answer.status
        self.headers: Headers = answer.headers
        self.request_id: str | None = answer.headers.get("x-request-id")


class RedirectError(APIStatusError):
    """The server points elsewhere. Nothing was sent there: a key goes to no other origin."""


class BadRequestError(APIStatusError):
    """400: a member is wrong; ``param`` names it."""


class AuthenticationError(APIStatusError):
    """401: no key, or a wrong one."""


class PermissionDeniedError(APIStatusError):
    """403: the key may not do this."""


class NotFoundError(APIStatusError):
    """404: there is no such call, or no more."""


class ConflictError(APIStatusError):
    """409."""


class UnprocessableEntityError(APIStatusError):
    """422."""


class RateLimitError(APIStatusError):
    """429: too many requests."""


class InternalServerError(APIStatusError):
    """500 and above: the server failed."""


class InvalidWebhookSignatureError(RemoteError, ValueError):
    """A webhook is not from whom it says, or not of now."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def status_error(answer: Answer, request: Request | None) -> APIStatusError:
    """Return the error of an answer that is none of 2xx."""
    body = answer.parsed_body()
    if isinstance(body, dict) and "error" in body:
        body = body["error"]
    said = body.get("message") if isinstance(body, dict) else body
    shown = f": {_shown(said)}" if isinstance(said, str) and said.strip() else "."
    kind = _BY_STATUS.get(answer.status, InternalServerError if answer.status >= 500 else APIStatusError)
    return kind(f"The server answered {answer.status}{shown}", answer, request, body=body)


def _shown(text: str) -> str:
    """Return a server's text in one printable line of bounded length."""
    line = "".join(char for char in " ".join(text.split()) if char.isprintable())
    return line if len(line) <= MAX_SHOWN_CHARS else line[:MAX_SHOWN_CHARS] + "..."


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
