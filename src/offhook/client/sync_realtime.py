"""The socket of `Client`: typed events in and out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UnsetType
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from offhook.client import limits
from offhook.client.errors import ConnectionClosedError
from offhook.client.events import Event, EventGroups, decode_event, encode_client_event
from offhook.client.route import Route
from offhook.client.sideband import NORMAL_CLOSES, closed, not_opened, own_route, socket_options, socket_url
from offhook.client.sync_reach import reach
from offhook.wire.client_events import ClientEvent

if TYPE_CHECKING:
    from offhook.client.sync_client import Client


class RealtimeConnection(EventGroups[None]):
    """An open socket. Iterate over it for the server's events; its members send the client's.

    The iteration ends when the socket is closed as it should be (1000, 1001); ``close_code`` and ``close_reason`` say
    how. Any other end is a ConnectionClosedError.
    """

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(self.send)
        self._socket = socket

    def __iter__(self) -> Iterator[Event]:
        while True:
            try:
                event = self.recv()
            except ConnectionClosedError as end:
                if end.close_code in NORMAL_CLOSES:
                    return
                raise
            yield event

    def recv(self) -> Event:
        """Wait for the next event. Raises ConnectionClosedError, APIResponseValidationError for what is no event."""
        return decode_event(self.recv_bytes())

    def recv_bytes(self) -> bytes:
        """Wait for the next event, as it came. Raises ConnectionClosedError."""
        try:
            return self._socket.recv(decode=False)
        except ConnectionClosed as end:
            raise closed(end) from None

    def send(self, event: ClientEvent | Mapping[str, Any]) -> None:
        """Send an event. Raises ConnectionClosedError."""
        try:
            self._socket.send(encode_client_event(event))
        except ConnectionClosed as end:
            raise closed(end) from None

    def close(self, *, code: int = 1000, reason: str = "") -> None:
        """Close the socket. A call goes on without it."""
        self._socket.close(code, reason)

    @property
    def close_code(self) -> int | None:
        """How the socket was closed (RFC 6455 7.4); None while it is open."""
        return self._socket.close_code

    @property
    def close_reason(self) -> str | None:
        """What the server said about it; None while it is open."""
        return self._socket.close_reason


class RealtimeConnectionManager:
    """Opens the socket when its ``with`` begins, and closes it when that ends."""

    def __init__(
        self,
        client: Client,
        call_id: str | UnsetType,
        model: str | UnsetType,
        extra_query: Mapping[str, object] | None,
        extra_headers: Mapping[str, str | None] | None,
        options: Mapping[str, Any] | None,
    ) -> None:
        self._client = client
        self._url = socket_url(client._settings, call_id, model, extra_query)
        self._extra_headers = extra_headers
        self._options = options
        self._connection: RealtimeConnection | None = None

    def enter(self) -> RealtimeConnection:
        """Open the socket without ``with``; ``close`` it in the end.

        Raises APIStatusError, APIConnectionError, ConfigError for a proxy that cannot be used.
        """
        key = self._client._api_key()
        options = socket_options(self._client._settings, key, self._extra_headers, self._options)
        route = own_route(self._url, self._options)
        try:
            return RealtimeConnection(connect(self._url, **options) if route is None else self._go(route, options))
        except (OSError, WebSocketException) as failure:
            raise not_opened(self._url, failure) from None

    def _go(self, route: Route, options: dict[str, Any]) -> ClientConnection:
        given_s = options["open_timeout"]
        deadline = time.monotonic() + (limits.OPEN_TIMEOUT_S if given_s is None else given_s)
        connection = reach(route, deadline, tunnel=True)
        left_s = None if given_s is None else deadline - time.monotonic()
        try:
            return connect(self._url, **{**options, "sock": connection, "open_timeout": left_s})
        except BaseException:  # also on an interrupt: no connection is left behind
            connection.close()
            raise

    def __enter__(self) -> RealtimeConnection:
        self._connection = self.enter()
        return self._connection

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
