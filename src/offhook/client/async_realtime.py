"""The socket of `AsyncClient`: typed events in and out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UnsetType
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from offhook.client.async_reach import reached
from offhook.client.errors import ConnectionClosedError
from offhook.client.events import Event, EventGroups, decode_event, encode_client_event
from offhook.client.route import Route
from offhook.client.sideband import NORMAL_CLOSES, closed, not_opened, own_route, socket_options, socket_url
from offhook.wire.client_events import ClientEvent

if TYPE_CHECKING:
    from offhook.client.async_client import AsyncClient


class _Connect(connect):
    """Follows no redirect: the key would go along."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class AsyncRealtimeConnection(EventGroups[Awaitable[None]]):
    """An open socket. Iterate over it for the server's events; its members send the client's.

    The iteration ends when the socket is closed as it should be (1000, 1001); ``close_code`` and ``close_reason`` say
    how. Any other end is a ConnectionClosedError.
    """

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__(self.send)
        self._socket = socket

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            try:
                event = await self.recv()
            except ConnectionClosedError as end:
                if end.close_code in NORMAL_CLOSES:
                    return
                raise
            yield event

    async def recv(self) -> Event:
        """Wait for the next event; cancelling that loses none.

        Raises ConnectionClosedError, and APIResponseValidationError for what is no event.
        """
        return decode_event(await self.recv_bytes())

    async def recv_bytes(self) -> bytes:
        """Wait for the next event, as it came. Raises ConnectionClosedError."""
        try:
            return await self._socket.recv(decode=False)
        except ConnectionClosed as end:
            raise closed(end) from None

    async def send(self, event: ClientEvent | Mapping[str, Any]) -> None:
        """Send an event. Raises ConnectionClosedError."""
        try:
            await self._socket.send(encode_client_event(event))
        except ConnectionClosed as end:
            raise closed(end) from None

    async def close(self, *, code: int = 1000, reason: str = "") -> None:
        """Close the socket. A call goes on without it."""
        await self._socket.close(code, reason)

    @property
    def close_code(self) -> int | None:
        """How the socket was closed (RFC 6455 7.4); None while it is open."""
        return self._socket.close_code

    @property
    def close_reason(self) -> str | None:
        """What the server said about it; None while it is open."""
        return self._socket.close_reason


class AsyncRealtimeConnectionManager:
    """Opens the socket when its ``async with`` begins, and closes it when that ends."""

    def __init__(
        self,
        client: AsyncClient,
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
        self._connection: AsyncRealtimeConnection | None = None

    async def enter(self) -> AsyncRealtimeConnection:
        """Open the socket without ``async with``; ``close`` it in the end.

        Raises APIStatusError, APIConnectionError, ConfigError for a proxy that cannot be used.
        """
        key = await self._client._api_key()
        options = socket_options(self._client._settings, key, self._extra_headers, self._options)
        route = own_route(self._url, self._options)
        try:
            async with asyncio.timeout(options["open_timeout"]):
                if route is None:
                    return AsyncRealtimeConnection(await _Connect(self._url, **options))
                return AsyncRealtimeConnection(await self._go(route, options))
        except (OSError, WebSocketException) as failure:
            raise not_opened(self._url, failure) from None

    async def _go(self, route: Route, options: dict[str, Any]) -> ClientConnection:
        async with reached(route, tunnel=True) as where:
            return await _Connect(self._url, **{**options, **where})

    async def __aenter__(self) -> AsyncRealtimeConnection:
        self._connection = await self.enter()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()
