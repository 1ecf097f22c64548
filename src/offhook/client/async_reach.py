"""How `AsyncClient` comes to a connection: a host's addresses side by side, then the proxy's tunnel.

With sockets, not by ``loop.create_connection``: that of other event loops knows nothing of addresses side by side.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence

from offhook.client import limits
from offhook.client.proxy import Proxy, connect_request, connect_status
from offhook.client.route import Address, Route, in_turn, no_tunnel, prepare_socket


async def reach(route: Route, *, tunnel: bool) -> socket.socket:
    """Return a connection to a host, through a tunnel of its proxy where that is wanted. It does not block.

    Raises OSError, APIConnectionError when the proxy makes no tunnel. Whoever asks sets the time limit.
    """
    loop = asyncio.get_running_loop()
    connection = await _first_of(loop, in_turn(await _addresses(loop, *route.address)))
    try:
        prepare_socket(connection)
        if tunnel and route.proxy is not None:
            await _open_tunnel(loop, connection, route, route.proxy)
    except BaseException:  # also when cancelled: no connection is left behind
        connection.close()
        raise
    return connection


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[Address]:
    # As bytes: names are in ASCII already, and a str would have the codec for others imported here and now.
    name = host.encode()
    try:
        # Who gives an address needs no thread that looks it up.
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)


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
