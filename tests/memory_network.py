"""A network in memory with a clock that jumps: ports like those of `offhook.net.rtp`, and lines as bad as is asked.

Everything is drawn from one seeded generator, so a run that fails fails again.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

Address = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Weather:
    """What a line does to packets: share lost and copied, delay and how much it varies (uniformly, so it reorders)."""

    loss: float = 0.0
    copies: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0


@dataclass(slots=True)
class MemoryPort:
    """A bound port. What it has received becomes readable when the network's clock reaches its arrival."""

    network: MemoryNetwork
    address: Address
    inbox: list[tuple[float, int, bytes, Address]] = field(default_factory=list)
    closed: bool = False

    def receive(self) -> tuple[bytes, Address]:
        if self.closed:
            raise OSError("closed")
        if not self.inbox or self.inbox[0][0] > self.network.now:
            raise BlockingIOError
        _, _, data, sender = heapq.heappop(self.inbox)
        return data, sender

    def send(self, data: bytes, to: Address, /) -> None:
        if self.closed:
            raise OSError("closed")
        self.network.carry(bytes(data), self.address, to)

    def close(self) -> None:
        self.closed = True
        self.inbox.clear()
        self.network.ports.pop(self.address, None)


@dataclass(slots=True)
class MemoryPair:
    """The two ports of a leg, and when they were closed."""

    rtp: MemoryPort
    rtcp: MemoryPort
    closed_at: float | None = None

    def close(self, now: float) -> None:
        if self.closed_at is None:
            self.closed_at = now
            self.rtp.close()
            self.rtcp.close()


class MemoryPoller:
    """Tells which of its ports have something to read now; it never waits."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[MemoryPort, Any]] = {}

    def add(self, port: MemoryPort, token: Any) -> None:
        self._watched[id(port)] = (port, token)

    def remove(self, port: MemoryPort) -> None:
        self._watched.pop(id(port), None)

    def ready(self, timeout_s: float = 0.0) -> list[Any]:
        return [token for port, token in self._watched.values() if port.inbox and port.inbox[0][0] <= port.network.now]


class MemoryNetwork:
    """Ports, the weather between them by host of the sender, and the time."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.ports: dict[Address, MemoryPort] = {}
        self.weather: dict[str, Weather] = {}
        self._count = 0

    def port(self, host: str, number: int) -> MemoryPort:
        port = self.ports[(host, number)] = MemoryPort(self, (host, number))
        return port

    def pair(self, host: str, number: int) -> MemoryPair:
        return MemoryPair(self.port(host, number), self.port(host, number + 1))

    def carry(self, data: bytes, sender: Address, to: Address) -> None:
        weather = self.weather.get(sender[0], Weather())
        if self.random.random() < weather.loss:
            return
        for _ in range(1 + (self.random.random() < weather.copies)):
            at = self.now + (weather.delay_ms + self.random.random() * weather.jitter_ms) / 1000
            port = self.ports.get(to)
            if port is not None:
                self._count += 1
                heapq.heappush(port.inbox, (at, self._count, data, sender))
