"""SIP over the network in memory: datagrams with the weather of their line, and no TCP."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from offhook.net.sip import SipTransport, SipTransportOptions
from offhook.sip.agent import UserAgent
from offhook.sip.output import Output
from offhook.testing.link import MAX_WAITING, Address, MemoryNetwork


class _Datagrams:
    """A bound port for datagrams that tells when one has come."""

    def __init__(self, exchange: Exchange, address: Address, arrived: Callable[[], None]) -> None:
        self.address = address
        self._exchange = exchange
        self._arrived = arrived
        self._inbox: deque[tuple[bytes, Address]] = deque()

    def recvfrom(self, size_bytes: int, /) -> tuple[bytes, Address]:
        if not self._inbox:
            raise BlockingIOError
        data, sender = self._inbox.popleft()
        return data[:size_bytes], sender

    def sendto(self, data: bytes, address: Address, /) -> None:
        self._exchange.carry(data, self.address, address)

    def close(self) -> None:
        self._exchange.ports.pop(self.address, None)

    def arrive(self, data: bytes, sender: Address) -> None:
        if len(self._inbox) < MAX_WAITING:
            self._inbox.append((data, sender))
            self._arrived()


class Exchange:
    """Carries SIP between the hosts of a network in memory."""

    def __init__(self, loop: asyncio.AbstractEventLoop, network: MemoryNetwork) -> None:
        self.ports: dict[Address, _Datagrams] = {}
        self._loop = loop
        self._network = network

    def bind(self, host: str, port: int, arrived: Callable[[], None]) -> _Datagrams:
        """Bind a port of a host; 0 is the first free one from 5060 on."""
        if not port:
            port = next(number for number in range(5060, 65536) if (host, number) not in self.ports)
        bound = self.ports[(host, port)] = _Datagrams(self, (host, port), arrived)
        return bound

    def carry(self, data: bytes, sender: Address, to: Address) -> None:
        """Carry a datagram."""
        for at in self._network.arrivals(sender[0]):
            self._loop.call_at(at, self._deliver, data, sender, tuple(to[:2]))

    def _deliver(self, data: bytes, sender: Address, to: Address) -> None:
        port = self.ports.get(to)
        if port is not None:
            port.arrive(data, sender)

    def transport(
        self,
        agent: UserAgent,
        options: SipTransportOptions,
        on_output: Callable[[Output], None],
        clock: Callable[[], float],
        watch: Callable[[bytes, bool], None] | None = None,
    ) -> SipTransport:
        """Make the transport of an agent on this network."""
        return MemorySip(self, agent, options, on_output, clock, watch)


class MemorySip(SipTransport):
    """The SIP transport of one host in memory. A request too large for UDP goes by UDP all the same."""

    def __init__(self, exchange: Exchange, agent: UserAgent, options: SipTransportOptions, *rest: Any) -> None:
        # No connection may be opened: the transaction falls back to UDP at once (RFC 3261 18.1.1).
        super().__init__(agent, replace(options, max_connections=0), *rest)
        self._exchange = exchange

    async def start(self) -> None:
        """Bind."""
        self._loop = asyncio.get_running_loop()
        bound = self._exchange.bind(self._options.host, self._options.port, self._read_datagrams)
        self._udp = bound
        self._address = (str(bound.address[0]), int(bound.address[1]))
