"""The built-in transport of `AsyncClient`: one protocol object a connection, no task and no stream between."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from offhook.client import limits
from offhook.client.answer import Answer, Headers
from offhook.client.async_reach import reached
from offhook.client.errors import APIConnectionError
from offhook.client.http1 import AnswerReader, BrokenAnswerError, encode_request
from offhook.client.request import Request
from offhook.client.route import Route, prepare_socket, route_to
from offhook.client.transport import CLOSED, Patience, broken, default_tls, not_reached, too_late

if TYPE_CHECKING:
    import ssl


class _Wire(asyncio.BaseProtocol):
    """One connection. Whoever waits for its answer waits for one future; one timer serves all its requests."""

    def __init__(self, origin: str, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self.reader = AnswerReader()
        self.idle_since = 0.0
        self.lost = False
        self._loop = loop
        self._transport: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_all = True
        self._failure: APIConnectionError | None = None
        self._deadline: float | None = None
        self._timeout_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        connection = transport.get_extra_info("socket")
        if connection is not None:
            prepare_socket(connection)

    def data_received(self, data: bytes | memoryview) -> None:
        """Take a part of the answer; what comes unasked ends the connection."""
        if self.reader.done:
            self.abort()
            return
        try:
            self.reader.feed(data)
        except BrokenAnswerError as failure:
            self._fail(broken(self.origin, failure))
            return
        reader = self.reader
        if reader.done or (reader.has_head and not self._wants_all):
            self._wake()
        if reader.done:
            return
        if not self._wants_all and sum(map(len, reader.chunks)) > limits.MAX_UNREAD_BYTES:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        """The server has said all it will; asyncio closes the connection next."""

    def connection_lost(self, failure: Exception | None) -> None:
        """The end, wanted or not."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiter is None and self.reader.done:
            return
        try:
            if failure is not None:
                raise BrokenAnswerError(getattr(failure, "strerror", None) or str(failure))
            self.reader.end()
            self._wake()
        except BrokenAnswerError as fault:
            self._fail(broken(self.origin, fault))

    # What the transport calls.

    def start(self, data: bytes, timeout_s: float | None, deadline: float | None, *, whole: bool) -> None:
        """Send a request."""
        self.reader.begin()
        self._failure = broken(self.origin, None) if self.lost else None
        self._wants_all = whole
        self._timeout_s = timeout_s
        self._deadline = deadline
        # Requests come and go in milliseconds and their time-outs are minutes: the timer of an earlier one is kept,
        # and looks at the deadline when it fires.
        if deadline is not None and (self._timer is None or self._timer.when() > deadline):
            self._arm(deadline)
        self._transport.write(data)

    async def more(self) -> None:
        """Wait until the answer is here, or the next part of a streamed one. Raises APIConnectionError."""
        if self._failure is None and not self.lost:
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._failure is not None:
            raise self._failure

    def is_fresh(self, now: float) -> bool:
        """Whether it may be used again: not old, and the server has not ended it."""
        return not self.lost and now - self.idle_since <= limits.IDLE_S

    def finish(self, now: float) -> bool:
        """The answer is no longer wanted. Returns whether the connection may be used again."""
        self._deadline = None
        self._timeout_s = None
        self.idle_since = now
        return self.reader.done and self.reader.reusable and not self.lost and not self._transport.is_closing()

    def abort(self) -> None:
        """Close at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._arm(self._deadline)
        else:
            self._fail(too_late(self.origin, self._timeout_s))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: APIConnectionError) -> None:
        self._failure = self._failure or failure
        self._wake()
        self.abort()


class _PlainWire(_Wire, asyncio.BufferedProtocol):
    """A connection without TLS.

    It brings its own buffer: asyncio would ask the system for 256 KB of fresh memory with every read.
    """

    def __init__(self, origin: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(origin, loop)
        self._buffer = memoryview(bytearray(limits.READ_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio says it
        """Return where the next part of the answer goes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take a part of the answer out of the buffer."""
        self.data_received(self._buffer[:nbytes])


class _SecureWire(_Wire, asyncio.Protocol):
    """A connection with TLS.

    It brings no buffer: asyncio fills one once a turn of its loop, and when the server closes it drops what was
    decrypted beyond that.
    """


class OpenAsyncAnswer:
    """An answer on its connection, while its body comes in."""

    def __init__(self, pool: _Pool, wire: _Wire) -> None:
        self._pool = pool
        self._wire: _Wire | None = wire
        self.status: int = wire.reader.status
        self.headers: Headers = wire.reader.headers

    async def next_chunk(self) -> bytes:
        """Wait for and return the next part of the body; ``b""`` is its end. Raises APIConnectionError."""
        wire = self._wire
        if wire is None:
            return b""
        try:
            while not wire.reader.chunks and not wire.reader.done:
                await wire.more()
        except BaseException:  # also when cancelled: the answer is let go
            await self.close()
            raise
        return wire.reader.take_body()

    async def close(self) -> None:
        """Let the answer go."""
        wire, self._wire = self._wire, None
        if wire is not None:
            self._pool.release(wire)


class _Pool:
    """The connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_connections: int) -> None:
        self.loop = loop
        self.closed = False
        self._free = max_connections
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._idle: dict[str, deque[_Wire]] = {}
        self._busy: set[_Wire] = set()
        self._routes: dict[str, Route] = {}

    async def begin(
        self, request: Request, timeout_s: float | None, tls: ssl.SSLContext | None, *, whole: bool
    ) -> _Wire:
        """Send a request; whoever is given its connection has to release it."""
        route = self._routes.get(request.origin)
        if route is None:
            # One for each base URL that a program uses; the environment is read once.
            route = self._routes[request.origin] = route_to(request.origin)
        data = encode_request(request, route.reader)
        deadline = None if timeout_s is None else self.loop.time() + timeout_s
        await self._slot(request.origin, timeout_s)
        try:
            wire = self._take(request.origin)
            if wire is None:
                wire = await self._connect(request.origin, route, timeout_s, deadline, tls)
        except BaseException:  # also when cancelled: the slot is given back
            self._give_slot()
            raise
        self._busy.add(wire)
        wire.start(data, timeout_s, deadline, whole=whole)
        return wire

    def release(self, wire: _Wire) -> None:
        """Keep a connection for the next request, or close it."""
        self._busy.discard(wire)
        now = self.loop.time()
        if wire.finish(now) and not self.closed:
            # Those that waited longest go while they are of no use: the newest are taken first, nobody else would.
            for idle in self._idle.values():
                while idle and not idle[0].is_fresh(now):
                    idle.popleft().abort()
            self._idle.setdefault(wire.origin, deque()).append(wire)
        else:
            wire.abort()
        self._give_slot()

    def close(self) -> None:
        """Close all connections."""
        self.closed = True
        wires = [*self._busy, *(wire for idle in self._idle.values() for wire in idle)]
        self._idle.clear()
        if self.loop.is_closed():
            return
        for wire in wires:
            wire.abort()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(APIConnectionError(CLOSED))

    def _take(self, origin: str) -> _Wire | None:
        idle = self._idle.get(origin)
        while idle:
            wire = idle.pop()
            if wire.is_fresh(self.loop.time()):
                return wire
            wire.abort()
        return None

    async def _connect(
        self, origin: str, route: Route, timeout_s: float | None, deadline: float | None, tls: ssl.SSLContext | None
    ) -> _Wire:
        made = _SecureWire if route.secure else _PlainWire
        patience = Patience(origin, timeout_s, None if deadline is None else deadline - self.loop.time())
        try:
            async with asyncio.timeout(patience.limit_s):
                async with reached(route, tunnel=route.secure) as where:
                    _, wire = await self.loop.create_connection(
                        lambda: made(origin, self.loop),
                        ssl=tls if route.secure else None,
                        server_hostname=route.host if route.secure else None,
                        **where,
                    )
        except TimeoutError:
            raise patience.ended() from None
        except OSError as failure:
            raise not_reached(origin, failure) from failure
        return wire

    async def _slot(self, origin: str, timeout_s: float | None) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = self.loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(timeout_s):
                await turn
        except BaseException as end:  # also when cancelled: a slot that came meanwhile is given on
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_slot()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(end, TimeoutError):
                raise too_late(origin, timeout_s) from None
            raise

    def _give_slot(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class AsyncioTransport:
    """Connections to servers, for the event loop that it is used in; a new loop gets new connections.

    ``tls`` replaces the default context, which trusts what the system trusts.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, max_connections: int = limits.MAX_CONNECTIONS) -> None:
        self._tls = tls
        self._max_connections = max_connections
        self._pool: _Pool | None = None
        self._closed = False

    async def send(self, request: Request, timeout_s: float | None) -> Answer:
        """Return the answer, whole within ``timeout_s``. Raises APIConnectionError, APITimeoutError."""
        pool = self._of_this_loop()
        wire = await pool.begin(request, timeout_s, self._tls_for(request), whole=True)
        try:
            reader = wire.reader
            while not reader.done:
                await wire.more()
            return Answer(reader.status, reader.headers, reader.take_body())
        finally:
            pool.release(wire)

    async def open(self, request: Request, timeout_s: float | None) -> OpenAsyncAnswer:
        """Return the answer when its headers are there. Raises APIConnectionError, APITimeoutError."""
        pool = self._of_this_loop()
        wire = await pool.begin(request, timeout_s, self._tls_for(request), whole=False)
        try:
            while not wire.reader.has_head:
                await wire.more()
        except BaseException:  # also when cancelled: the connection is given back
            pool.release(wire)
            raise
        return OpenAsyncAnswer(pool, wire)

    async def close(self) -> None:
        """Close all connections; whoever still waits for an answer gets APIConnectionError."""
        self._closed = True
        if self._pool is not None:
            self._pool.close()
            # One turn of the loop, in which the connections end.
            await asyncio.sleep(0)

    def _of_this_loop(self) -> _Pool:
        if self._closed:
            raise APIConnectionError(CLOSED)
        loop = asyncio.get_running_loop()
        if self._pool is None or self._pool.loop is not loop:
            if self._pool is not None:
                self._pool.close()
            self._pool = _Pool(loop, self._max_connections)
        return self._pool

    def _tls_for(self, request: Request) -> ssl.SSLContext | None:
        if self._tls is None and request.origin.startswith("https:"):
            self._tls = default_tls()
        return self._tls
