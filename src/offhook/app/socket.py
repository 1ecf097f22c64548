"""The sideband of a session, which outlives the connections that carry it."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from offhook.app import limits
from offhook.client.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    ConnectionClosedError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)
from offhook.wire.client_events import ClientEvent

if TYPE_CHECKING:
    from offhook.client.async_client import AsyncClient
    from offhook.client.async_realtime import AsyncRealtimeConnection

# A call that was just accepted may be found a moment later only.
_FIRST_PAUSES_S: Final = (0.0, *limits.RECONNECT_PAUSES_S[:2])
# Close codes (RFC 6455 7.4.1): the call is over, and this client breaks a rule.
OVER: Final = 1000
REFUSED: Final = 1008


class Lost(enum.Enum):
    """Why a connection could not be replaced."""

    CALL = "the call is over"
    SERVER = "the server is out of reach, or refuses"


class Socket:
    """Events to and from one call. Whoever sends while the connection is lost waits for the next one."""

    def __init__(self, client: AsyncClient, call_id: str, *, own_events: bool) -> None:
        self._client = client
        self._call_id = call_id
        # Other servers are not asked for what they do not know.
        self._query = {"offhook_events": "1"} if own_events else {}
        self._connection: AsyncRealtimeConnection | None = None
        self._changed = asyncio.Event()
        self._finished: ConnectionClosedError | None = None
        self._pauses_s = iter(limits.RECONNECT_PAUSES_S)
        self._opened_at = 0.0

    @property
    def steady(self) -> bool:
        """Whether the connection has lived for a while; also of one that was just lost."""
        return asyncio.get_running_loop().time() - self._opened_at >= limits.STEADY_S

    async def open(self) -> None:
        """Open the first connection. Raises APIError."""
        for pause_s in _FIRST_PAUSES_S:
            await asyncio.sleep(pause_s)
            try:
                await self._connect()
            except (APIConnectionError, InternalServerError, NotFoundError, RateLimitError) as failure:
                last: APIError = failure
            else:
                return
        raise last

    async def reopen(self) -> Lost | None:
        """Open the next connection; return why there is none."""
        self._connection = None
        if self.steady:
            self._pauses_s = iter(limits.RECONNECT_PAUSES_S)
        for pause_s in self._pauses_s:
            await asyncio.sleep(pause_s)
            try:
                await self._connect()
            except NotFoundError:
                return Lost.CALL
            except (APIConnectionError, InternalServerError, RateLimitError):
                pass
            except APIStatusError:
                break
            else:
                return None
        return Lost.SERVER

    async def receive(self) -> bytes:
        """Wait for an event. Raises ConnectionClosedError."""
        if self._connection is None:
            raise self._finished or ConnectionClosedError(OVER, "")
        return await self._connection.recv_bytes()

    async def send(self, event: ClientEvent | Mapping[str, Any], *, again: bool = True) -> None:
        """Send an event, waiting for a connection where there is none. Raises ConnectionClosedError at the end.

        One that a connection took along is sent ``again`` by the next, or not.
        """
        broken: AsyncRealtimeConnection | None = None
        while self._finished is None:
            connection = self._connection
            if connection is not None and connection is not broken:
                try:
                    await connection.send(event)
                except ConnectionClosedError:
                    # Who reads notices too, and says what becomes of it.
                    broken = connection
                    if again:
                        continue
                return
            self._changed.clear()
            await self._changed.wait()
        raise self._finished

    def finish(self) -> None:
        """There will be no further connection: whoever waits for one is told."""
        if self._finished is None:
            self._finished = ConnectionClosedError(OVER, "the call is over")
            self._changed.set()

    async def close(self) -> None:
        """Close the connection. The call goes on."""
        self.finish()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _connect(self) -> None:
        manager = self._client.realtime.connect(call_id=self._call_id, extra_query=self._query)
        self._connection = await manager.enter()
        self._opened_at = asyncio.get_running_loop().time()
        self._changed.set()
