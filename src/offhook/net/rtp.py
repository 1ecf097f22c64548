"""The ports that media come in by: pairs of UDP sockets out of a configured range, and the wait on many of them."""

from __future__ import annotations

import errno
import resource
import select
import socket
import threading
from collections import deque
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

from offhook.errors import ConfigError, LocalError
from offhook.rtp.limits import PACKET_BYTES

Address: TypeAlias = tuple[Any, ...]
Token = TypeVar("Token")

QUARANTINE_S: Final = 5.0
"""A port rests so long after a call: phones go on sending for a while after they were hung up."""

EXPEDITED: Final = 46
"""The DSCP of voice (RFC 4594 section 4.1), so that routers which care send it first."""

_BUSY: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


class PortsExhaustedError(LocalError):
    """No pair of ports is free: the range is too small for the calls, or other programs sit in it."""


class UdpPort:
    """One bound, non-blocking UDP socket.

    ``receive()`` returns a datagram and its sender or raises `BlockingIOError`; ``send(data, to)`` sends or raises
    `OSError`. Both are the socket's own methods: at thousands of packets a second every layer of calls is felt.
    """

    __slots__ = ("_socket", "address", "receive", "send")

    def __init__(self, host: str, port: int, *, dscp: int = EXPEDITED) -> None:
        six = ":" in host
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
        try:
            if six:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
            else:
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.address: Address = (host, port) if port else self._socket.getsockname()
        self.send = self._socket.sendto
        self.receive = partial(self._socket.recvfrom, PACKET_BYTES)

    def fileno(self) -> int:
        """Return the descriptor, for a poller."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; what has not been read is thrown away."""
        self._socket.close()


class PortPair:
    """The RTP port of a call and the RTCP port above it (RFC 3550 section 11)."""

    __slots__ = ("_range", "rtcp", "rtp")

    def __init__(self, ports: PortRange, rtp: UdpPort, rtcp: UdpPort) -> None:
        self._range: PortRange | None = ports
        self.rtp = rtp
        self.rtcp = rtcp

    @property
    def port(self) -> int:
        """The RTP port, as it stands in the SDP."""
        return int(self.rtp.address[1])

    def close(self, now: float) -> None:
        """Close both sockets and give the ports back; harmless when repeated."""
        ports, self._range = self._range, None
        if ports is not None:
            self.rtp.close()
            self.rtcp.close()
            ports.give_back(self.port, now)


class PortRange:
    """Hands out pairs of ports from ``first`` to ``last``, each even one with the odd one above it.

    A port that was given back rests for `QUARANTINE_S`, and the one that rested longest is taken first, so that a new
    call does not hear the caller before it. Ports held by other programs are stepped over. Any thread may use it.
    """

    def __init__(self, host: str, first: int, last: int, *, dscp: int = EXPEDITED) -> None:
        if not 1024 <= first <= last <= 65535:
            raise ConfigError("rtp_ports", f"{first}-{last} is no range of ports", "use 1024 to 65535, low-high")
        pairs = range(first + first % 2, last, 2)
        if not pairs:
            raise ConfigError("rtp_ports", f"{first}-{last} holds no pair", "a call needs an even port and the next")
        self._host = host
        self._dscp = dscp
        self._lock = threading.Lock()
        self._free: deque[int] = deque(pairs)
        self._resting: deque[tuple[float, int]] = deque()
        self.pairs = len(pairs)
        """How many calls the range has room for."""
        self.in_use = 0
        self.stepped_over = 0
        """How often a port was found to be another program's."""

    def room(self, now: float) -> int:
        """Return how many pairs could be opened now, if no other program holds them."""
        with self._lock:
            self._rested(now)
            return len(self._free)

    def open(self, now: float) -> PortPair:
        """Open the next free pair, or raise `PortsExhaustedError`; ``now`` is any steady clock in seconds."""
        with self._lock:
            self._rested(now)
            for _ in range(len(self._free)):
                port = self._free.popleft()
                pair = self._bind(port)
                if pair is not None:
                    self.in_use += 1
                    return pair
                self._free.append(port)
                self.stepped_over += 1
            raise PortsExhaustedError(
                f"no RTP port is free: {self.in_use} of {self.pairs} pairs are in use, {len(self._resting)} rest for "
                f"{QUARANTINE_S:.0f} s after a call, {len(self._free)} belong to other programs (widen rtp_ports)"
            )

    def give_back(self, port: int, now: float) -> None:
        """Let a closed port rest; `PortPair.close` calls this."""
        with self._lock:
            self.in_use -= 1
            self._resting.append((now + QUARANTINE_S, port))

    def _rested(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])

    def _bind(self, port: int) -> PortPair | None:
        try:
            rtp = UdpPort(self._host, port, dscp=self._dscp)
        except OSError as error:
            self._check(error)
            return None
        try:
            return PortPair(self, rtp, UdpPort(self._host, port + 1, dscp=self._dscp))
        except OSError as error:
            rtp.close()
            self._check(error)
            return None

    def _check(self, error: OSError) -> None:
        """Raise what another port would not mend."""
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            raise PortsExhaustedError("the process has no file descriptors left (raise ulimit -n)") from error
        if error.errno not in _BUSY:
            raise LocalError(f"cannot open RTP ports on {self._host}: {error.strerror}") from error


class SocketPoller(Generic[Token]):
    """Waits on many ports at once (epoll). One thread uses it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._tokens: dict[int, Token] = {}

    def add(self, port: UdpPort, token: Token) -> None:
        """Watch a port; ``token`` is what `ready` returns for it."""
        self._tokens[port.fileno()] = token
        self._epoll.register(port.fileno(), select.EPOLLIN)

    def remove(self, port: UdpPort) -> None:
        """Stop watching a port; call it before the port is closed."""
        if self._tokens.pop(port.fileno(), None) is not None:
            self._epoll.unregister(port.fileno())

    def ready(self, timeout_s: float = 0.0) -> list[Token]:
        """Return the tokens of the ports that have something to read, waiting for one at most so long."""
        tokens = self._tokens
        if not tokens and not timeout_s:
            return []
        return [tokens[descriptor] for descriptor, _ in self._epoll.poll(timeout_s)]

    def close(self) -> None:
        """Close the poller, not the ports."""
        self._epoll.close()


def raise_descriptor_limit() -> int:
    """Allow this process as many open files as the system lets it have, and return how many that is.

    Two sockets a call meet the usual soft limit of 1,024 at 500 calls. Call it once at start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # An unlimited hard limit above the kernel's fs.nr_open.
            return soft
    return hard
