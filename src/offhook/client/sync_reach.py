"""How `Client` comes to a connection: a host's addresses side by side, then the proxy's tunnel."""

from __future__ import annotations

import os
import selectors
import socket
import time
from errno import EINPROGRESS, EWOULDBLOCK
from typing import Any, Final

from offhook.client import limits
from offhook.client.proxy import Proxy, connect_request, connect_status
from offhook.client.route import Address, Route, in_turn, no_tunnel, prepare_socket

# What a connection that has begun says; on Windows it would block.
_BEGUN: Final = frozenset({0, EINPROGRESS, EWOULDBLOCK})


def reach(route: Route, deadline: float, *, tunnel: bool) -> socket.socket:
    """Return a connection to a host, through a tunnel of its proxy where that is wanted; ``deadline`` is monotonic.

    Raises OSError, TimeoutError when there is none by then, APIConnectionError when the proxy makes no tunnel.
    """
    host, port = route.address
    # As bytes: names are in ASCII already, and a str would have the codec for others imported here and now. The look-up
    # of a name cannot be cut short; its time counts.
    connection = _first_of(in_turn(socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)), deadline)
    try:
        prepare_socket(connection)
        if tunnel and route.proxy is not None:
            _open_tunnel(connection, route, route.proxy, deadline)
        connection.settimeout(None)
    except BaseException:  # also on an interrupt: no connection is left behind
        connection.close()
        raise
    return connection


def limit(connection: socket.socket, deadline: float) -> None:
    """Let the next step take the time that is left. Raises TimeoutError when none is."""
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    connection.settimeout(left_s)


def _first_of(addresses: list[Address], deadline: float) -> socket.socket:
    """Return a connection to the address that answers first; each begins a moment after the one before it."""
    waiting = iter(addresses)
    failure = OSError("the host has no address")
    begun: set[socket.socket] = set()
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                address = next(waiting, None)
                if address is not None:
                    try:
                        begun.add(_begin(address, selector))
                    except OSError as refused:
                        failure = refused
                        continue
                elif not begun:
                    raise failure
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                for key, _ in selector.select(left_s if address is None else min(left_s, limits.NEXT_ADDRESS_S)):
                    connection: Any = key.fileobj
                    begun.remove(connection)
                    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        return connection  # type: ignore[no-any-return]
                    selector.unregister(connection)
                    connection.close()
                    failure = OSError(code, os.strerror(code))
        finally:
            for each in begun:
                each.close()


def _begin(address: Address, selector: selectors.BaseSelector) -> socket.socket:
    family, kind, protocol, _, where = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        code = connection.connect_ex(where)
        if code not in _BEGUN:
            raise OSError(code, os.strerror(code))
        selector.register(connection, selectors.EVENT_WRITE)
    except BaseException:  # also on an interrupt: no socket is left behind
        connection.close()
        raise
    return connection


def _open_tunnel(connection: socket.socket, route: Route, proxy: Proxy, deadline: float) -> None:
    limit(connection, deadline)
    connection.sendall(connect_request(proxy, route.host, route.port))
    reply = b""
    # Byte by byte: what follows the reply is the server's already.
    while (status := connect_status(reply)) is None:
        limit(connection, deadline)
        data = connection.recv(1)
        if not data:
            raise no_tunnel(route.origin, 0)
        reply += data
    if not 200 <= status < 300:
        raise no_tunnel(route.origin, status)
