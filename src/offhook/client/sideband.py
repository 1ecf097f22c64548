"""What the sockets of both clients share: where they go, what they say first, and how their ends are told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType
from websockets.exceptions import ConnectionClosed, InvalidProxy, InvalidStatus

from offhook.client import limits
from offhook.client.answer import Answer, Headers
from offhook.client.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ConnectionClosedError,
    RedirectError,
    status_error,
)
from offhook.client.fields import replace_headers
from offhook.client.request import add_query
from offhook.client.route import Route, route_to
from offhook.client.settings import Settings
from offhook.errors import ConfigError

if TYPE_CHECKING:
    from websockets.http11 import Response

# RFC 6455 7.4.1: a normal end, and a server that goes away. What else ends a socket is a failure.
NORMAL_CLOSES = frozenset({1000, 1001})
ABNORMAL = 1006
# Options of the library that bring a connection of the application's own, and those that say how one is made.
_ELSEWHERE: Final = frozenset({"sock", "unix", "path"})
_CONNECTING: Final = frozenset(
    {"host", "port", "family", "proto", "flags", "local_addr", "happy_eyeballs_delay", "interleave", "all_errors"}
    | {"source_address", "timeout"}
)


def _quiet_logger() -> logging.Logger:
    """Return a logger of nobody: the library would write the key's header to its own at level DEBUG."""
    logger = logging.Logger("offhook.client.websocket", level=logging.WARNING)  # noqa: LOG001
    logger.addHandler(logging.NullHandler())
    return logger


def socket_url(
    settings: Settings, call_id: str | UnsetType, model: str | UnsetType, extra_query: Mapping[str, object] | None
) -> str:
    """Return the URL of a socket. Raises ValueError for an empty call id or model."""
    for name, value in (("call_id", call_id), ("model", model)):
        if value is not UNSET and not value:
            raise ValueError(f"Expected a non-empty value for `{name}` but received {value!r}")
    query = {**settings.default_query, "call_id": call_id, "model": model, **(extra_query or {})}
    return add_query(settings.websocket_url + "/realtime", query)


def own_route(url: str, given: Mapping[str, Any] | None) -> Route | None:
    """Return the way to a socket's server: the one that requests to it go, through the same proxy.

    None when the application's options say how it is reached; then the library goes there. Raises ConfigError for a
    proxy that cannot be used, or not with those options.
    """
    proxy = (given or {}).get("proxy", True)
    named = {name for name, value in (given or {}).items() if value is not None}
    if isinstance(proxy, str) or named & _ELSEWHERE:
        return None
    route = route_to(url, proxied=proxy is True)
    if not named & _CONNECTING:
        return route
    if route.proxy is not None:
        message = "says how to connect, and the environment names a proxy"
        raise ConfigError("websocket_connection_options", message, "give a proxy there, too; None is none")
    return None


def socket_options(
    settings: Settings,
    api_key: str,
    extra_headers: Mapping[str, str | None] | None,
    given: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the options for the library's ``connect``; those of the application win."""
    headers = dict(settings.headers)
    headers["authorization"] = f"Bearer {api_key}"
    replace_headers(headers, settings.default_headers)
    replace_headers(headers, extra_headers or {})
    # The host is that of the socket's own URL; the library writes it.
    headers.pop("host", None)
    return {
        "user_agent_header": headers.pop("user-agent", None),
        "additional_headers": headers,
        "compression": None,
        "open_timeout": limits.OPEN_TIMEOUT_S,
        "max_size": limits.MAX_EVENT_BYTES,
        "max_queue": limits.MAX_UNREAD_EVENTS,
        "logger": _quiet_logger(),
        "proxy": None,
        **(given or {}),
    }


def refused(response: Response) -> APIError:
    """Return the error of an upgrade that got another answer than 101."""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.raw_items()]
    answer = Answer(response.status_code, Headers(pairs), bytes(response.body or b""))
    if 300 <= answer.status < 400:
        message = f"The server answered {answer.status} and points elsewhere, where no key of this one may go."
        return RedirectError(message, answer, None, body=answer.parsed_body())
    return status_error(answer, None)


def not_opened(url: str, failure: Exception) -> APIError:
    """Return the error of a socket that did not open. The URL is told without its query."""
    where = url.partition("?")[0]
    if isinstance(failure, InvalidStatus):
        return refused(failure.response)
    if isinstance(failure, InvalidProxy):
        # Its text holds the proxy's URL, and that the password.
        return APIConnectionError(f"{where} did not open a WebSocket: the proxy cannot be one.")
    if isinstance(failure, TimeoutError):
        return APITimeoutError(f"{where} did not open a WebSocket in time.")
    if isinstance(failure, OSError):
        return APIConnectionError(f"Cannot connect to {where}: {failure.strerror or failure}.")
    return APIConnectionError(f"{where} did not open a WebSocket: {failure}.")


def closed(end: ConnectionClosed) -> ConnectionClosedError:
    """Return the error of a socket that is closed: the server's code and reason, else what became of it."""
    frame = end.rcvd or end.sent
    return ConnectionClosedError(ABNORMAL, "") if frame is None else ConnectionClosedError(frame.code, frame.reason)
