"""How `AsyncClient` comes to a connection: a host's addresses side by side, then the proxy's tunnel.

With sockets, not by ``loop.create_connection``: that of other event loops knows nothing of addresses side by side.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from offhook.client import limits
from offhook.client.proxy import Proxy, connect_request, connect_status
from offhook.client.route import Address, Route, in_turn, is_address, no_tunnel


@asynccontextmanager
async def reached(route: Route, *, tunnel: bool) -> AsyncIterator[dict[str, Any]]:
    """Give what ``loop.create_connection`` has to be told: a connection (``sock``), or ``host`` and ``port``.

    The connection is one to the first of a host's addresses that answers, through a tunnel of its proxy where that is
    wanted. It is closed again when what it is made for fails. Raises OSError, APIConnectionError when the proxy makes
    no tunnel. Whoever asks sets the time limit.
    """
    host, port = route.address
    proxy = route.proxy if tunnel else None
    if proxy is None and is_address(host):
        # Nothing is to be chosen, and the event loop may have a way of its own to get there.
        yield {"host": host, "port": port}
        return
    loop = asyncio.get_running_loop()
    # As bytes: names are in ASCII already, and a str would have the codec for others imported here and now.
    addresses = await loop.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
    connection = await _first_of(loop, in_turn(addresses))
    try:
        if proxy is not None:
            await _open_tunnel(loop, connection, route, proxy)
        yield {"sock": connection}
    except BaseException:  # also when cancelled: no connection is left behind
        connection.close()
        raise


async def _first_of(loop: asyncio.AbstractEventLoop, addresses: list[Address]) -> socket.socket:
    """Return a connection to the address that answers first; each begins a moment after the one before it."""
    if len(addresses) == 1:
        return await _connected(loop, addresses[0])
    waiting = iter(addresses)
    failure: BaseException = OSError("the host has no address")
    begun: set[asyncio.Task[socket.socket]] = set()
    try:
        while True:
            address = next(waiting, None)
            if address is not None:
                begun.add(loop.create_task(_connected(loop, address)))
            elif not begun:
                raise failure
            patience_s = None if address is None else limits.NEXT_ADDRESS_S
            ended, _ = await asyncio.wait(begun, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                refused = task.exception()
                if refused is None:
                    begun.remove(task)
                    return task.result()
                failure = refused
            begun -= ended
    finally:
        for task in begun:
            task.cancel()
        for late in await asyncio.gather(*begun, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()


async def _connected(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    family, kind, protocol, _, where = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, where)
    except BaseException as failure:  # also when cancelled: no socket is left behind
        connection.close()
        if isinstance(failure, OSError) and failure.errno is not None:
            # asyncio writes the address instead of the reason.
            raise OSError(failure.errno, os.strerror(failure.errno)) from None
        raise
    return connection


async def _open_tunnel(loop: asyncio.AbstractEventLoop, connection: socket.socket, route: Route, proxy: Proxy) -> None:
    await loop.sock_sendall(connection, connect_request(proxy, route.host, route.port))
    reply = b""
    # Byte by byte: what follows the reply is the server's already.
    while (status := connect_status(reply)) is None:
        data = await loop.sock_recv(connection, 1)
        if not data:
            raise no_tunnel(route.origin, 0)
        reply += data
    if not 200 <= status < 300:
        raise no_tunnel(route.origin, status)
