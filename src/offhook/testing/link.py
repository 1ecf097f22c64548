"""A network in memory: ports for sound and datagrams for SIP, and lines between them as bad as is asked.

Everything is drawn from one seeded generator, so that a run which fails fails again.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from offhook.errors import LocalError

Address = tuple[Any, ...]
# Datagrams that wait at a port nobody reads: as many as a socket's buffer would hold; later ones are lost.
MAX_WAITING: Final = 4096


@dataclass(frozen=True, slots=True)
class Weather:
    """What a line does to packets: the share lost and copied, the delay and how much it varies.

    Delays vary evenly from ``delay_ms`` to ``delay_ms + jitter_ms``, so that packets overtake each other.
    """

    loss: float = 0.0
    copies: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0


FAIR: Final = Weather()


@dataclass(slots=True, eq=False)
class MemoryPort:
    """A bound port. What it was sent can be read when the clock reaches its arrival."""

    network: MemoryNetwork
    address: Address
    inbox: list[tuple[float, int, bytes, Address]] = field(default_factory=list)
    closed: bool = False
    poller: MemoryPoller | None = None

    def receive(self) -> tuple[bytes, Address]:
        """Return a datagram and its sender, or raise BlockingIOError; OSError once closed."""
        if self.closed:
            raise OSError("closed")
        if not self.inbox or self.inbox[0][0] > self.network.clock():
            raise BlockingIOError
        _, _, data, sender = heapq.heappop(self.inbox)
        return data, sender

    def send(self, data: bytes, to: Address, /) -> None:
        """Send a datagram."""
        if self.closed:
            raise OSError("closed")
        self.network.carry(bytes(data), self.address, to)

    def close(self) -> None:
        """Close; what was not read is gone."""
        self.closed = True
        self.inbox.clear()
        self.network.ports.pop(self.address, None)


@dataclass(slots=True)
class MemoryPair:
    """The two ports of a leg, and when they were closed."""

    rtp: MemoryPort
    rtcp: MemoryPort
    closed_at: float | None = None

    @property
    def port(self) -> int:
        """The RTP port, as it stands in the SDP."""
        return int(self.rtp.address[1])

    def close(self, now: float) -> None:
        """Close both; harmless when repeated."""
        if self.closed_at is None:
            self.closed_at = now
            self.rtp.close()
            self.rtcp.close()


class MemoryPoller:
    """Tells which of its ports have something to read now; it never waits."""

    def __init__(self) -> None:
        self._tokens: dict[MemoryPort, Any] = {}
        self._waiting: dict[MemoryPort, None] = {}

    def add(self, port: MemoryPort, token: Any) -> None:
        """Watch a port."""
        self._tokens[port] = token
        port.poller = self
        if port.inbox:
            self._waiting[port] = None

    def remove(self, port: MemoryPort) -> None:
        """Stop watching a port."""
        self._tokens.pop(port, None)
        self._waiting.pop(port, None)
        port.poller = None

    def told(self, port: MemoryPort) -> None:
        """Something is on its way to a port. Called by the network."""
        self._waiting[port] = None

    def ready(self, timeout_s: float = 0.0) -> list[Any]:
        """Return the tokens of the ports that have something to read."""
        del timeout_s
        if not self._waiting:
            return []
        found = []
        for port in list(self._waiting):
            if not port.inbox:
                del self._waiting[port]
            elif port.inbox[0][0] <= port.network.clock():
                found.append(self._tokens[port])
        return found


class MemoryRange:
    """Hands out pairs of ports of one host, as `offhook.net.rtp.PortRange` does of real ones."""

    def __init__(self, network: MemoryNetwork, host: str, first: int, last: int) -> None:
        self._network = network
        self._host = host
        self._next = first + first % 2
        self._first = self._next
        self._last = last
        self.pairs = (last + 1 - self._first) // 2
        self._open: set[int] = set()

    @property
    def in_use(self) -> int:
        """Pairs that are open."""
        return sum((self._host, port) in self._network.ports for port in self._open)

    def room(self, now: float) -> int:
        """Return how many more can be opened."""
        del now
        return self.pairs - self.in_use

    def open(self, now: float) -> MemoryPair:
        """Open the next pair. Raises LocalError when there is none."""
        if not self.room(now):
            raise LocalError(f"no port of {self._host} is free: {self.pairs} pairs are in use")
        while (self._host, self._next) in self._network.ports:
            self._step()
        port = self._next
        self._step()
        self._open.add(port)
        return self._network.pair(self._host, port)

    def _step(self) -> None:
        self._next = self._next + 2 if self._next + 3 <= self._last else self._first


class MemoryNetwork:
    """Ports, the weather by host of the sender, and whoever wants datagrams as they come."""

    def __init__(self, clock: Callable[[], float], seed: int = 1) -> None:
        self.clock = clock
        self.random = random.Random(seed)  # noqa: S311 - it draws the weather
        self.ports: dict[Address, MemoryPort] = {}
        self.weather: dict[str, Weather] = {}
        self._count = 0

    def port(self, host: str, number: int) -> MemoryPort:
        """Bind a port."""
        port = self.ports[(host, number)] = MemoryPort(self, (host, number))
        return port

    def pair(self, host: str, number: int) -> MemoryPair:
        """Bind a port and the one above it."""
        return MemoryPair(self.port(host, number), self.port(host, number + 1))

    def arrivals(self, host: str) -> list[float]:
        """Draw when the copies of a packet that a host sends now arrive; none of a lost one."""
        now, weather = self.clock(), self.weather.get(host, FAIR)
        if self.random.random() < weather.loss:
            return []
        copies = 1 + (self.random.random() < weather.copies)
        return [now + (weather.delay_ms + self.random.random() * weather.jitter_ms) / 1000 for _ in range(copies)]

    def carry(self, data: bytes, sender: Address, to: Address) -> None:
        """Carry a datagram between two ports."""
        for at in self.arrivals(sender[0]):
            port = self.ports.get(to)
            if port is None or len(port.inbox) >= MAX_WAITING:
                continue
            self._count += 1
            heapq.heappush(port.inbox, (at, self._count, data, sender))
            if port.poller is not None:
                port.poller.told(port)
