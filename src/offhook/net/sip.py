"""The SIP agent on the network: one UDP socket and one TCP port, asyncio.

The transport reads, hands bytes to the agent, sends what the agent wants sent, arms one timer for the agent's next
deadline, and gives everything else to the host.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from offhook.errors import ConfigError
from offhook.net.address import RouteFinder, bind_pair, parse_public_address
from offhook.net.alarm import Alarm
from offhook.net.stream import Stream, StreamLimits
from offhook.sip.agent import UserAgent
from offhook.sip.flow import Flow
from offhook.sip.output import Output, Transmit

_DATAGRAMS_A_TURN = 64
"""Datagrams taken before the loop may do something else: enough for a burst, short enough (about 5 ms) for the rest."""

_WAKES_APART_S = 0.01
"""The agent's deadlines are looked at no oftener: after half a minute of calls some transaction ends every millisecond,
and uvloop's timers, which count whole milliseconds, ring again and again in the one before. A fiftieth of T1."""

_MAX_FLOWS = 4096
"""UDP peers whose Flow object is kept; one more forgets the oldest, which costs an allocation and nothing else."""

_MAX_DATAGRAM_BYTES = 65535


@dataclass(frozen=True, slots=True)
class SipTransportOptions:
    """Where SIP listens and what one peer may take of us.

    ``host`` is an address to bind, IPv4 or IPv6, a wildcard included; ``port`` 0 takes any port free for UDP and TCP
    alike. ``public_address`` is what peers are told in Via and Contact: ``host`` or ``host:port``; empty for the bound
    address, or on a wildcard for the local address of the route to the peer.
    """

    host: str = "127.0.0.1"
    port: int = 5060
    public_address: str = ""
    receive_buffer_bytes: int = 4 * 1024 * 1024
    """SO_RCVBUF: holds about two seconds of 1,000 calls/s while the loop is busy. The kernel may grant less."""
    max_connections: int = 1000
    """TCP connections, both ways. A further one is closed at once when it comes in, and fails when we want it."""
    max_connections_per_source: int = 32
    """Of those, what one address (IPv6: one /64) may open that is not allowed by name; a proxy needs a handful."""
    idle_timeout_s: float = 1800.0
    """A connection that carries calls is closed after so long without a byte: a call may say nothing for long."""
    unused_timeout_s: float = 180.0
    """One that carries none; peers that want to be reached by it ping every two minutes (RFC 5626 4.4.1)."""
    first_message_timeout_s: float = 30.0
    """A connection that never brought a whole message is no SIP peer."""
    connect_timeout_s: float = 4.0
    """Short, because a large request falls back to UDP after it (RFC 3261 18.1.1)."""
    write_buffer_bytes: int = 1024 * 1024
    """A peer that leaves so much unread loses its connection."""


@dataclass(slots=True)
class TransportCounters:
    """Totals since the start; they only grow."""

    datagrams_in: int = 0
    datagrams_out: int = 0
    send_errors: int = 0
    """Datagrams that the kernel did not take: buffer full, no route, too large."""
    connections_in: int = 0
    connections_out: int = 0
    connections_refused: int = 0
    """Above ``max_connections`` or its source's share of them, or from outside the allow-list."""
    connects_failed: int = 0
    streams_broken: int = 0
    """Connections closed because their bytes could not be followed or were not read."""


class DatagramSocket(Protocol):
    """What SIP needs of a UDP socket; it never blocks."""

    def recvfrom(self, size_bytes: int, /) -> tuple[bytes, Any]:
        """Return a datagram and its sender, or raise BlockingIOError."""

    def sendto(self, data: bytes, address: Any, /) -> object:
        """Send a datagram, or raise OSError."""

    def close(self) -> None:
        """Close it."""


class SipTransport:
    """One listening address for UDP and TCP.

    ``on_output`` gets every output but ``Transmit``, in order, in the loop's thread; it may call ``perform`` with what
    the agent returns to its wishes. ``clock`` is the monotonic time that the agent is told. ``watch`` is shown every
    message, and whether it came in, before anything follows from it.
    """

    def __init__(
        self,
        agent: UserAgent,
        options: SipTransportOptions,
        on_output: Callable[[Output], None],
        clock: Callable[[], float] = time.monotonic,
        watch: Callable[[bytes, bool], None] | None = None,
    ) -> None:
        self.agent = agent
        self._watch = watch
        self.counters = TransportCounters()
        self._options = options
        self._on_output = on_output
        self._clock = clock
        self._public = parse_public_address(options.public_address)
        self._route = RouteFinder()
        self._address: tuple[str, int] = (options.host, options.port)
        self._udp: DatagramSocket | None = None
        self._udp_descriptor = -1
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flows: dict[Any, Flow] = {}
        self._streams: dict[int, Stream] = {}
        self._by_source: Counter[str] = Counter()
        self._by_remote: dict[tuple[str, int], Stream] = {}
        self._connecting: dict[tuple[str, int], _Connecting] = {}
        self._serial = 0
        self._outputs: deque[Output] = deque()
        self._performing = False
        self._alarm = Alarm(self._wake, clock)
        self._woke_at = float("-inf")

    # -- life --------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind and listen. Raises ConfigError when the address cannot be had."""
        self._loop = asyncio.get_running_loop()
        udp, tcp = bind_pair(self._options.host, self._options.port, self._options.receive_buffer_bytes)
        try:
            self._server = await self._loop.create_server(self._accept, sock=tcp)
        except OSError as error:
            udp.close()
            tcp.close()
            raise ConfigError("sip", f"cannot listen on {self._options.host}: {error}") from error
        self._udp = udp
        self._address = udp.getsockname()[:2]
        self._udp_descriptor = udp.fileno()
        self._loop.add_reader(self._udp_descriptor, self._read_datagrams)

    async def close(self) -> None:
        """Stop at once: nothing more is sent or received."""
        self._alarm.cancel()
        if self._udp is not None and self._loop is not None:
            if self._udp_descriptor >= 0:
                self._loop.remove_reader(self._udp_descriptor)
            self._udp.close()
            self._udp = None
        if self._server is not None:
            self._server.close()
        for attempt in list(self._connecting.values()):
            attempt.task.cancel()
        tasks = [attempt.task for attempt in self._connecting.values()]
        self._connecting.clear()
        for stream in list(self._streams.values()):
            stream.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None
        self._outputs.clear()

    @property
    def address(self) -> tuple[str, int]:
        """The bound address; with the port that was chosen when ``port`` is 0."""
        return self._address

    @property
    def connections(self) -> int:
        """TCP connections that are open or being opened."""
        return len(self._streams) + len(self._connecting)

    def flow_to(self, remote: tuple[str, int], transport: Literal["UDP", "TCP"] = "UDP") -> Flow:
        """The flow for a call of ours to a literal address; a TCP connection is used again or opened as needed."""
        return Flow(transport, remote, self._local_for(remote[0]))

    # -- outputs -----------------------------------------------------------------------------------------------------

    def perform(self, outputs: Sequence[Output]) -> None:
        """Do what the agent returned: send, and tell the host, in order."""
        self._carry_out(outputs)
        if not self._performing:
            self._arm()

    def _carry_out(self, outputs: Sequence[Output]) -> None:
        queue = self._outputs
        queue.extend(outputs)
        if self._performing:
            # A wish of the host's while it is being told something: its outputs come after those that wait.
            return
        self._performing = True
        try:
            while queue:
                output = queue.popleft()
                if not isinstance(output, Transmit):
                    self._on_output(output)
                    continue
                if self._watch is not None:
                    self._watch(output.data, False)
                if output.flow.transport == "UDP":
                    self._send_datagram(output.flow, output.data)
                else:
                    self._send_on_stream(output.flow, output.data)
        finally:
            self._performing = False

    def _arm(self) -> None:
        if self._udp is not None and (deadline := self.agent.next_deadline()) is not None:
            self._alarm.set(max(deadline, self._woke_at + _WAKES_APART_S))

    def _wake(self) -> None:
        self._woke_at = self._clock()
        self.perform(self.agent.advance(self._woke_at))

    # -- UDP ---------------------------------------------------------------------------------------------------------

    def _read_datagrams(self) -> None:
        udp = self._udp
        if udp is None:
            return
        receive, now = self.agent.receive, self._clock()
        try:
            self._read_turn(udp, receive, now)
        finally:
            self._arm()

    def _read_turn(
        self, udp: DatagramSocket, receive: Callable[[bytes, Flow, float], list[Output]], now: float
    ) -> None:
        for _ in range(_DATAGRAMS_A_TURN):
            try:
                data, source = udp.recvfrom(_MAX_DATAGRAM_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                # An ICMP error of an earlier datagram; which one is not said, and the timers know better.
                continue
            self.counters.datagrams_in += 1
            if self._watch is not None:
                self._watch(data, True)
            flow = self._flows.get(source) or self._new_flow(source)
            self._carry_out(receive(data, flow, now))

    def _new_flow(self, source: Any) -> Flow:
        if len(self._flows) >= _MAX_FLOWS:
            del self._flows[next(iter(self._flows))]
        flow = Flow("UDP", source[:2], self._local_for(source[0]))
        self._flows[source] = flow
        return flow

    def _send_datagram(self, flow: Flow, data: bytes) -> None:
        if self._udp is None:
            return
        try:
            self._udp.sendto(data, flow.remote)
            self.counters.datagrams_out += 1
        except (BlockingIOError, InterruptedError):
            # The send buffer is full: a datagram lost like any other, the transaction sends it again.
            self.counters.send_errors += 1
        except OSError:
            self.counters.send_errors += 1
            self._outputs.extend(self.agent.transport_failed(flow, self._clock()))

    # -- TCP ---------------------------------------------------------------------------------------------------------

    def _accept(self) -> Stream:
        return self._new_stream(outgoing=False)

    def _new_stream(self, *, outgoing: bool) -> Stream:
        options = self._options
        limits = StreamLimits(
            options.idle_timeout_s,
            options.unused_timeout_s,
            options.first_message_timeout_s,
            options.write_buffer_bytes,
        )
        self._serial += 1
        return Stream(self._serial, limits, self, outgoing=outgoing)

    def stream_opened(self, stream: Stream, remote: tuple[str, int]) -> bool:
        """A connection is there; whether it may stay. Called by the stream."""
        if not stream.outgoing:
            now = self._clock()
            welcome = self.agent.accepts_from(remote[0], now)
            if not welcome:
                self.perform(self.agent.turned_away(remote, now))
            if not welcome or not self._has_room_for(remote[0], now):
                self.counters.connections_refused += 1
                return False
            self.counters.connections_in += 1
            self._by_source[_source_of(remote[0])] += 1
        stream.flow = Flow("TCP", remote, self._local_for(remote[0]), stream.serial)
        self._streams[stream.serial] = stream
        self._by_remote[remote] = stream
        return True

    def _has_room_for(self, host: str, now: float) -> bool:
        if self.connections >= self._options.max_connections:
            return False
        share = self._options.max_connections_per_source
        return self._by_source[_source_of(host)] < share or self.agent.trusts(host, now)

    def stream_in_use(self, stream: Stream) -> bool:
        """Whether calls need the connection. Called by the stream."""
        return stream.flow is not None and self.agent.carries_call(stream.flow)

    def stream_received(self, stream: Stream, messages: list[bytes]) -> None:
        """Whole messages came. Called by the stream."""
        now = self._clock()
        for message in messages:
            if self._watch is not None:
                self._watch(message, True)
            if stream.flow is not None:
                self.perform(self.agent.receive(message, stream.flow, now))

    def stream_closed(self, stream: Stream) -> None:
        """The connection is gone. Called by the stream."""
        if stream.broken:
            self.counters.streams_broken += 1
        if stream.flow is None or self._streams.pop(stream.serial, None) is None:
            return
        if not stream.outgoing:
            source = _source_of(stream.flow.remote[0])
            self._by_source[source] -= 1
            if not self._by_source[source]:
                del self._by_source[source]
        if self._by_remote.get(stream.flow.remote) is stream:
            del self._by_remote[stream.flow.remote]
        if self._udp is not None:
            self.perform(self.agent.connection_closed(stream.flow, self._clock()))

    def _send_on_stream(self, flow: Flow, data: bytes) -> None:
        stream = self._streams.get(flow.connection) if flow.connection else self._by_remote.get(flow.remote)
        if stream is not None:
            stream.send(data)
        elif flow.connection:
            self._outputs.extend(self.agent.transport_failed(flow, self._clock()))
        else:
            self._connect(flow, data)

    def _connect(self, flow: Flow, data: bytes) -> None:
        attempt = self._connecting.get(flow.remote)
        if attempt is None:
            if self._loop is None or self.connections >= self._options.max_connections:
                self.counters.connections_refused += 1
                self._outputs.extend(self.agent.transport_failed(flow, self._clock()))
                return
            attempt = _Connecting(self._loop.create_task(self._open(flow)), [], 0)
            self._connecting[flow.remote] = attempt
        if attempt.size_bytes + len(data) <= self._options.write_buffer_bytes:
            attempt.waiting.append(data)
            attempt.size_bytes += len(data)

    async def _open(self, flow: Flow) -> None:
        loop, stream = asyncio.get_running_loop(), self._new_stream(outgoing=True)
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                await loop.create_connection(lambda: stream, *flow.remote, local_addr=self._outgoing_address())
        except (OSError, TimeoutError):
            self._connecting.pop(flow.remote, None)
            self.counters.connects_failed += 1
            self.perform(self.agent.transport_failed(flow, self._clock()))
            return
        self.counters.connections_out += 1
        attempt = self._connecting.pop(flow.remote, None)
        for data in attempt.waiting if attempt is not None else ():
            stream.send(data)

    def _outgoing_address(self) -> tuple[str, int] | None:
        host = self._address[0]
        return None if _is_wildcard(host) else (host, 0)

    # -- addresses ---------------------------------------------------------------------------------------------------

    def _local_for(self, remote_host: str) -> tuple[str, int]:
        """The address peers are told."""
        host, port = self._address
        if self._public is not None:
            return self._public[0], self._public[1] or port
        if _is_wildcard(host):
            return self._route.local_host(remote_host) or host, port
        return host, port


@dataclass(slots=True)
class _Connecting:
    """A connection being opened, and what is to be sent on it."""

    task: asyncio.Task[None]
    waiting: list[bytes]
    size_bytes: int


def _source_of(host: str) -> str:
    """Who an address belongs to: of an IPv6 address the /64, all of which one machine can have."""
    if ":" not in host:
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:8].hex()


def _is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
