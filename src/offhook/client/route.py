"""The way to a server: its host and port, the proxy before it, and the order in which addresses are tried.

Source: RFC 8305 (happy eyeballs).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from offhook.client.errors import APIConnectionError
from offhook.client.proxy import Proxy, choose_proxy

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""One of those that ``getaddrinfo`` returns."""

_PORTS: Final = {"http": 80, "https": 443}
# The scheme of requests to the same server: proxies are chosen by that.
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Route(Struct, frozen=True):
    """How an origin is reached."""

    origin: str
    secure: bool
    host: str
    port: int
    proxy: Proxy | None

    @property
    def address(self) -> tuple[str, int]:
        """To whom a connection is made."""
        return (self.host, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)

    @property
    def reader(self) -> Proxy | None:
        """The proxy that reads requests and passes them on; one that carries TLS sees none."""
        return None if self.secure else self.proxy


def route_to(url: str, *, proxied: bool = True) -> Route:
    """Return the way to a server, by the environment's proxy if there is one and it is not ruled out.

    Raises ConfigError for a proxy that cannot be used.
    """
    parts = urlsplit(url)
    scheme = _SCHEMES[parts.scheme]
    host, port = parts.hostname, parts.port or _PORTS[scheme]
    assert host is not None
    proxy = choose_proxy(scheme, host, port, os.environ) if proxied else None
    return Route(f"{parts.scheme}://{parts.netloc}", scheme == "https", host, port, proxy)


def is_address(host: str) -> bool:
    """Whether a host is an address, which nobody has to look up."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        return False
    return True


def in_turn(addresses: Iterable[Address]) -> list[Address]:
    """Return addresses in the order to try them: the resolver's, but families by turns (RFC 8305 4)."""
    families: dict[int, list[Address]] = {}
    for each in addresses:
        families.setdefault(each[0], []).append(each)
    return [each for each in chain.from_iterable(zip_longest(*families.values())) if each is not None]


def no_tunnel(origin: str, status: int) -> APIConnectionError:
    """Return the error of a proxy that makes no tunnel."""
    said = f"answered {status}" if status else "did not answer as one"
    return APIConnectionError(f"Cannot connect to {origin}: the proxy {said}.")


def prepare_socket(connection: socket.socket) -> None:
    """Send small requests at once, and notice a peer that vanished while nothing is said."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
