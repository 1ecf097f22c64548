"""Where a SIP message came from, and where the next one goes."""

from __future__ import annotations

from typing import Literal

import msgspec

Transport = Literal["UDP", "TCP"]


class Flow(msgspec.Struct, frozen=True):
    """A transport, the two addresses it joins, and the connection if there is one.

    ``remote`` is the peer's address and port as the socket sees it. ``local`` is the address *we advertise* in Via and
    Contact on this flow: the bound address, or the public address setting. ``connection`` is the serial number of a TCP
    connection; 0 for UDP, and for TCP "use the connection to ``remote``, or open one".
    """

    transport: Transport
    remote: tuple[str, int]
    local: tuple[str, int]
    connection: int = 0

    @property
    def reliable(self) -> bool:
        """Whether the transport repeats lost bytes itself (RFC 3261 17)."""
        return self.transport != "UDP"


def hostport(address: tuple[str, int]) -> str:
    """The address as SIP writes it: ``192.0.2.1:5060``, ``[2001:db8::1]:5060`` (RFC 3261 25.1, hostport)."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
