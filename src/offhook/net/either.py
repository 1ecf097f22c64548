"""Plain and TLS connections on one port: the first byte decides.

A TLS connection begins with a handshake record, whose first byte is 22 (RFC 8446 section 5.1); no HTTP request begins
with it (RFC 9112 section 3). The byte is looked at without being taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

_HANDSHAKE: Final = b"\x16"
# Out of descriptors: those that are open have to go first.
_PAUSE_S: Final = 0.5


class EitherListener:
    """Accepts connections and gives each its protocol, over TLS or not.

    ``patience_s``: so long a peer may take for its first byte, and for its handshake. ``most``: so many may do either
    at a time; beyond that new ones are closed.
    """

    def __init__(
        self, protocol: Callable[[], asyncio.Protocol], context: ssl.SSLContext, *, patience_s: float, most: int
    ) -> None:
        self._protocol = protocol
        self._context = context
        self._patience_s = patience_s
        self._most = most
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._sorting: set[asyncio.Task[None]] = set()
        self.refused = 0

    async def start(self, host: str, port: int, backlog: int) -> list[socket.socket]:
        """Listen; raises OSError when the address is taken or not ours."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, proto, _, address in dict.fromkeys(found):
                listening = socket.socket(family, kind, proto)
                self._listening.append(listening)
                listening.setblocking(False)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                bound = self._listening[0].getsockname()[1] if len(self._listening) > 1 else port
                listening.bind((address[0], bound, *address[2:]))
                listening.listen(backlog)
        except OSError:
            self._close_sockets()
            raise
        self._accepting = [loop.create_task(self._accept(each)) for each in self._listening]
        return self._listening

    async def close(self) -> None:
        """Accept nothing more, and drop what has not begun."""
        tasks = [*self._accepting, *self._sorting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listening in self._listening:
            listening.close()
        self._listening = []

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self._sorting) >= self._most:
                self.refused += 1
                connection.close()
                continue
            connection.setblocking(False)
            task = loop.create_task(self._sort(connection))
            self._sorting.add(task)
            task.add_done_callback(self._sorting.discard)

    async def _sort(self, connection: socket.socket) -> None:
        given = False
        try:
            async with asyncio.timeout(self._patience_s):
                first = await _first_byte(connection)
            if first:
                secure = first == _HANDSHAKE
                given = True
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._protocol,
                    connection,
                    ssl=self._context if secure else None,
                    ssl_handshake_timeout=self._patience_s if secure else None,
                )
        except (OSError, TimeoutError):
            pass  # It is gone, too slow, or does not speak our TLS: its own doing, and nobody else's.
        finally:
            if not given:
                connection.close()


async def _first_byte(connection: socket.socket) -> bytes:
    """Return the first byte without taking it, nothing when the peer closed."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(BlockingIOError):
            return connection.recv(1, socket.MSG_PEEK)
        readable = loop.create_future()
        loop.add_reader(connection, readable.set_result, None)
        try:
            await readable
        finally:
            loop.remove_reader(connection)
