"""The built-in transport of `Client`: blocking sockets, kept for the next request, one for each request in flight."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING

from offhook.client import limits
from offhook.client.answer import Answer, Headers
from offhook.client.errors import APIConnectionError
from offhook.client.http1 import AnswerReader, BrokenAnswerError, encode_request
from offhook.client.request import Request
from offhook.client.route import Route, route_to
from offhook.client.sync_reach import limit, reach
from offhook.client.transport import CLOSED, Patience, broken, default_tls, not_reached, too_late

if TYPE_CHECKING:
    import ssl


class _Wire:
    """One connection."""

    def __init__(self, origin: str, connection: socket.socket) -> None:
        self.origin = origin
        self.socket = connection
        self.reader = AnswerReader()
        self.idle_since = 0.0

    def is_fresh(self, now: float) -> bool:
        """Whether it may be used again: not old, and nothing came in that nobody asked for, such as its end."""
        if now - self.idle_since > limits.IDLE_S:
            return False
        try:
            if not hasattr(select, "poll"):
                return not select.select([self.socket], [], [], 0)[0]
            # One of its own each time: several threads may look at a connection at once.
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            return not poll.poll(0)
        except ValueError:  # another thread has closed it
            return False

    def send(self, data: bytes, timeout_s: float | None, deadline: float | None) -> None:
        """Send a request. Raises APIConnectionError."""
        self.reader.begin()
        try:
            self.socket.settimeout(_remaining(self.origin, timeout_s, deadline))
            self.socket.sendall(data)
        except TimeoutError:
            raise too_late(self.origin, timeout_s) from None
        except OSError as failure:
            raise broken(self.origin, failure) from failure

    def read(self, timeout_s: float | None, deadline: float | None) -> None:
        """Wait for more of the answer. Raises APIConnectionError."""
        try:
            self.socket.settimeout(_remaining(self.origin, timeout_s, deadline))
            data = self.socket.recv(limits.READ_BYTES)
            if data:
                self.reader.feed(data)
            else:
                self.reader.end()
        except TimeoutError:
            raise too_late(self.origin, timeout_s) from None
        except (OSError, BrokenAnswerError) as failure:
            raise broken(self.origin, failure) from failure

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def _remaining(origin: str, timeout_s: float | None, deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left_s = deadline - time.monotonic()
    if left_s <= 0:
        raise too_late(origin, timeout_s)
    return left_s


class SyncOpenAnswer:
    """An answer on its connection, while its body comes in."""

    def __init__(self, transport: SyncTransport, wire: _Wire, timeout_s: float | None, deadline: float | None) -> None:
        self._transport = transport
        self._wire: _Wire | None = wire
        self._timeout_s = timeout_s
        self._deadline = deadline
        self.status: int = wire.reader.status
        self.headers: Headers = wire.reader.headers

    def next_chunk(self) -> bytes:
        """Wait for and return the next part of the body; ``b""`` is its end. Raises APIConnectionError."""
        wire = self._wire
        if wire is None:
            return b""
        try:
            while not wire.reader.chunks and not wire.reader.done:
                wire.read(self._timeout_s, self._deadline)
        except BaseException:  # also on an interrupt: the answer is let go
            self.close()
            raise
        return wire.reader.take_body()

    def close(self) -> None:
        """Let the answer go."""
        wire, self._wire = self._wire, None
        if wire is not None:
            self._transport._release(wire)


class SyncTransport:
    """Connections to servers, for any number of threads.

    ``tls`` replaces the default context, which trusts what the system trusts.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, max_connections: int = limits.MAX_CONNECTIONS) -> None:
        self._tls = tls
        self._slots = threading.BoundedSemaphore(max_connections)
        self._idle: dict[str, list[_Wire]] = {}
        self._routes: dict[str, Route] = {}
        self._pid = os.getpid()
        self._closed = False

    def __del__(self) -> None:
        # A client that nobody closed takes its idle connections along, in silence.
        if hasattr(self, "_idle"):
            self._drop_idle()

    def send(self, request: Request, timeout_s: float | None) -> Answer:
        """Return the answer, whole within ``timeout_s``. Raises APIConnectionError, APITimeoutError."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wire = self._begin(request, timeout_s, deadline)
        try:
            reader = wire.reader
            while not reader.done:
                wire.read(timeout_s, deadline)
            return Answer(reader.status, reader.headers, reader.take_body())
        finally:
            self._release(wire)

    def open(self, request: Request, timeout_s: float | None) -> SyncOpenAnswer:
        """Return the answer when its headers are there. Raises APIConnectionError, APITimeoutError."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        wire = self._begin(request, timeout_s, deadline)
        try:
            while not wire.reader.has_head:
                wire.read(timeout_s, deadline)
        except BaseException:  # also on an interrupt: the connection is given back
            self._release(wire)
            raise
        return SyncOpenAnswer(self, wire, timeout_s, deadline)

    def close(self) -> None:
        """Close the connections that wait; those in use close when their answers are there."""
        self._closed = True
        self._drop_idle()

    def _begin(self, request: Request, timeout_s: float | None, deadline: float | None) -> _Wire:
        route = self._routes.get(request.origin)
        if route is None:
            # One for each base URL that a program uses; the environment is read once.
            route = self._routes[request.origin] = route_to(request.origin)
        data = encode_request(request, route.reader)
        if not self._slots.acquire(timeout=timeout_s):
            raise too_late(request.origin, timeout_s)
        try:
            if self._closed:
                raise APIConnectionError(CLOSED)
            wire = self._take(request.origin) or self._connect(request.origin, route, timeout_s, deadline)
        except BaseException:  # also on an interrupt: the slot is given back
            self._slots.release()
            raise
        try:
            wire.send(data, timeout_s, deadline)
        except BaseException:  # also on an interrupt: the connection is given back
            self._release(wire)
            raise
        return wire

    def _take(self, origin: str) -> _Wire | None:
        if self._pid != os.getpid():
            # A forked process must not speak on the sockets of its parent.
            self._pid = os.getpid()
            self._idle = {}
        idle = self._idle.get(origin)
        now = time.monotonic()
        while idle:
            try:
                wire = idle.pop()
            except IndexError:  # another thread took it
                break
            if wire.is_fresh(now):
                return wire
            wire.close()
        return None

    def _connect(self, origin: str, route: Route, timeout_s: float | None, deadline: float | None) -> _Wire:
        patience = Patience(origin, timeout_s, _remaining(origin, timeout_s, deadline))
        # One for all steps: addresses, the proxy's reply, the handshake of TLS.
        connected_by = time.monotonic() + patience.limit_s
        connection = None
        try:
            connection = reach(route, connected_by, tunnel=route.secure)
            if route.secure:
                self._tls = self._tls or default_tls()
                limit(connection, connected_by)
                connection = self._tls.wrap_socket(connection, server_hostname=route.host)
        except (OSError, APIConnectionError) as failure:
            if connection is not None:
                connection.close()
            if isinstance(failure, APIConnectionError):
                raise
            if isinstance(failure, TimeoutError):
                raise patience.ended() from None
            raise not_reached(origin, failure) from failure
        return _Wire(origin, connection)

    def _release(self, wire: _Wire) -> None:
        if wire.reader.done and wire.reader.reusable and not self._closed:
            now = time.monotonic()
            self._drop_stale(now)
            wire.idle_since = now
            self._idle.setdefault(wire.origin, []).append(wire)
        else:
            wire.close()
        self._slots.release()
        if self._closed:
            self._drop_idle()

    def _drop_stale(self, now: float) -> None:
        """Close those that waited longest while they are of no use: the newest are taken first, nobody else would."""
        for idle in list(self._idle.values()):
            # What is fresh stays in its place: a thread that does not find it there would open one more.
            while (oldest := next(iter(idle), None)) is not None and not oldest.is_fresh(now):
                try:
                    idle.remove(oldest)
                except ValueError:  # another thread took it
                    continue
                oldest.close()

    def _drop_idle(self) -> None:
        for idle in list(self._idle.values()):
            while idle:
                idle.pop().close()
