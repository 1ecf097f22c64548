"""What the plane needs of a network: ports to send and receive by, and a way to wait on many of them.

`offhook.net.rtp` has real sockets of this shape; tests have a network in memory.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

Address: TypeAlias = tuple[Any, ...]


class DatagramPort(Protocol):
    """A bound port that never blocks."""

    def receive(self) -> tuple[bytes, Address]:
        """Return the next datagram and its sender, or raise `BlockingIOError`."""

    def send(self, data: bytes, to: Address, /) -> object:
        """Send a datagram, or raise `OSError`."""


class Ports(Protocol):
    """The two ports of a leg."""

    @property
    def rtp(self) -> DatagramPort:
        """Where sound goes in and out."""

    @property
    def rtcp(self) -> DatagramPort:
        """Where reports go in and out."""

    def close(self, now: float) -> None:
        """Close both; harmless when repeated."""


class PortPair(Ports, Protocol):
    """The two ports of a leg, and the number that a session description tells of them."""

    @property
    def port(self) -> int:
        """The RTP port."""


class PortSource(Protocol):
    """Hands out pairs of ports."""

    @property
    def pairs(self) -> int:
        """How many there are."""

    @property
    def in_use(self) -> int:
        """How many are handed out."""

    def room(self, now: float) -> int:
        """Return how many could be opened now."""

    def open(self, now: float) -> PortPair:
        """Open the next pair. Raises LocalError when there is none."""


class Poller(Protocol):
    """Tells which ports have something to read. Tokens are whatever the plane gives."""

    def add(self, port: Any, token: Any) -> None:
        """Watch a port."""

    def remove(self, port: Any) -> None:
        """Stop watching a port; harmless for one that is not watched."""

    def ready(self, timeout_s: float = 0.0) -> list[Any]:
        """Return the tokens of the ports that have something, after waiting for one at most so long."""
