"""Binding, and the addresses that peers are told."""

from __future__ import annotations

import contextlib
import socket

from offhook.errors import ConfigError

_PORT_ATTEMPTS = 32
"""Tries to find a port that UDP and TCP both have free; one is nearly always enough."""

_MAX_ROUTES = 4096
"""Peers whose local address is remembered; one more forgets the oldest."""


def parse_public_address(text: str) -> tuple[str, int] | None:
    """``host``, ``host:port``, ``[ipv6]:port`` or a bare IPv6 address; port 0 when not given, None for empty text.

    Raises ConfigError when it is none of these.
    """
    text = text.strip()
    if not text:
        return None
    host, port = text, ""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ConfigError("public_address", f"{text!r} is not an address", "write host or host:port")
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    valid_port = not port or (port.isascii() and port.isdecimal() and 0 < int(port) < 65536)
    if not host or not valid_port or any(char in host for char in ' \t\r\n;<>@"/'):
        raise ConfigError("public_address", f"{text!r} is not an address", "write host or host:port")
    return host, int(port or 0)


def bind_pair(host: str, port: int, receive_buffer_bytes: int) -> tuple[socket.socket, socket.socket]:
    """A non-blocking UDP and a TCP socket on the same port; port 0 finds one that both can have.

    Raises ConfigError that names the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(_PORT_ATTEMPTS):
        udp = tcp = None
        try:
            udp = _bound(family, socket.SOCK_DGRAM, host, port)
            tcp = _bound(family, socket.SOCK_STREAM, host, udp.getsockname()[1])
        except OSError as error:
            for opened in (udp, tcp):
                if opened is not None:
                    opened.close()
            if port or attempt + 1 == _PORT_ATTEMPTS:
                raise ConfigError(
                    "sip", f"cannot bind {host} port {port or 'any'}: {error.strerror or error}", "choose another --sip"
                ) from error
            continue
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                udp.setsockopt(socket.SOL_SOCKET, option, receive_buffer_bytes)
        return udp, tcp
    raise ConfigError("sip", f"cannot bind {host}")


def _bound(family: int, kind: int, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


class RouteFinder:
    """Tells from which local address a peer is reached, for servers bound to a wildcard. Nothing is sent for it."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def local_host(self, remote_host: str) -> str | None:
        """The local address of the route to a literal address, None when there is no route."""
        known = self._known.get(remote_host)
        if known is not None:
            return known
        family = socket.AF_INET6 if ":" in remote_host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((remote_host, 9))
                host = str(probe.getsockname()[0])
        except OSError:
            return None
        if len(self._known) >= _MAX_ROUTES:
            del self._known[next(iter(self._known))]
        self._known[remote_host] = host
        return host
