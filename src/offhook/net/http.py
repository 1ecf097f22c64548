"""The HTTP and WebSocket server: uvicorn's protocols on a socket of ours.

Only its protocol classes are used, not its ``Server``: signals, start and stop belong to ``server.py``.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from offhook.errors import ConfigError
from offhook.wire import limits

# Browsers, SDKs and proxies keep connections for a minute; a shorter time makes their next request meet a closed one.
KEEP_ALIVE_S = 75
PING_S = 20.0
BACKLOG = 1024


class HttpServer:
    """Serves one ASGI application on one address."""

    def __init__(self, app: Any) -> None:
        self._config = Config(
            app,
            http=HttpToolsProtocol,
            ws=WebSocketsSansIOProtocol,
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws_max_size=limits.MAX_CLIENT_EVENT_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._state.connections)

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen; returns the address that was bound. Raises ConfigError when it is taken or not ours."""
        self._config.load()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._protocol, host, port, backlog=BACKLOG)
        except OSError as failure:
            mend = "choose another port with --http" if port else "choose another address with --http"
            raise ConfigError("--http", f"cannot listen on {host}:{port}: {failure.strerror}", mend) from None
        bound = self._server.sockets[0].getsockname()
        for listening in self._server.sockets:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound[0], bound[1]

    def _protocol(self) -> asyncio.Protocol:
        return HttpToolsProtocol(self._config, self._state, {})

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more, let running requests end, then close what is left."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(list(self._state.tasks), timeout=grace_s)
            for task in late:
                task.cancel()
        for connection in list(self._state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        self._server = None
