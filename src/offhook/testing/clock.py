"""Time that jumps: an event loop that never waits for a timer, and knows when it has to wait for the world outside.

While everything under way is in this loop, the clock stands still as long as something can be done and then jumps to
the next thing that is due: five minutes pass as fast as they can be computed, and pass in the same order every time.
What is under way elsewhere (a thread, a socket of somebody else's) cannot be hurried: it is waited for while the clock
stands still, and when that takes long the clock runs like any other.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from offhook.errors import LocalError
from offhook.media.plane import MediaPlane

START_S: Final = 1000.0
# Nobody tests a call of a day; who waits so long waits for something that does not come.
LONGEST_S: Final = 86_400.0
# Real seconds for which time stands still when something begins outside. Most of it is over by then (a look at a file,
# a request of a synchronous client) and took no time at all, in every run; what takes longer may wait for a timer.
STILL_S: Final = 2.0

_Ready = list[tuple[selectors.SelectorKey, int]]


class StuckError(LocalError):
    """Nothing will ever happen again, or has not for a day: what is waited for does not come."""


class Stepper(Protocol):
    """Something that is due every few milliseconds. It is stepped beside the loop, which would cost more than it."""

    @property
    def next_at(self) -> float:
        """When it is due next; infinity is not at all."""

    def step(self, now: float) -> None:
        """Do what is due."""


class _JumpSelector(selectors.DefaultSelector):
    """Looks for what is ready; instead of waiting it lets the clock jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START_S
        self.steppers: list[Stepper] = []
        self.woken = False
        """Whether a step gave the loop something to do."""
        self.ours: set[int] = set()
        """Descriptors whose other end is in this loop too, and those on which nothing is under way."""
        self.foreign = 0
        self.busy_outside: Callable[[], bool] = lambda: False
        self._outside_since: float | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self.foreign += key.fd not in self.ours
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self.foreign -= key.fd not in self.ours
        return key

    def adopt(self, fd: int) -> None:
        """Nothing is under way on this descriptor, even while it is looked at."""
        if fd not in self.ours:
            self.ours.add(fd)
            self.foreign -= fd in self.get_map()

    def select(self, timeout: float | None = None) -> _Ready:
        found = super().select(0)
        if found or timeout == 0:
            return found
        end = math.inf if timeout is None else self.now + timeout
        if self.foreign or self.busy_outside():
            return self._wait(end)
        self._outside_since = None
        while self._advance(end):
            if self.woken:
                return []
        if end == math.inf:
            raise StuckError("nothing is left that could happen: what is waited for does not come")
        self.now = end
        if end > START_S + LONGEST_S:
            raise StuckError("a day has passed: what is waited for does not come")
        return []

    def _wait(self, end: float) -> _Ready:
        """Let as much time pass as really passes, but none in the first moments."""
        now = time.monotonic()
        if self._outside_since is None:
            self._outside_since = now
        still_s = self._outside_since + STILL_S - now
        if still_s > 0:
            return super().select(still_s)
        end = min([end, *(stepper.next_at for stepper in self.steppers)])
        began = time.monotonic()
        found = super().select(None if end == math.inf else max(end - self.now, 0.0))
        self.now = min(self.now + time.monotonic() - began, end)
        if not found:
            self._advance(self.now)
        return found

    def _advance(self, end: float) -> bool:
        """Step what is due next, the first of several; False when nothing is until ``end``."""
        first, at = None, end
        for stepper in self.steppers:
            next_at = stepper.next_at
            if next_at < at or (first is None and next_at <= at):
                first, at = stepper, next_at
        if first is None:
            return False
        self.woken = False
        self.now = max(self.now, at)
        first.step(self.now)
        return True


class _Wire(socket.socket):
    """One end of a connection within the loop; takes the options of TCP and has no use for them."""

    ours: set[int]

    def setsockopt(self, level: int, *rest: Any) -> None:
        if level != socket.IPPROTO_TCP:
            super().setsockopt(level, *rest)

    def close(self) -> None:
        self.ours.discard(self.fileno())
        super().close()


def _wires(ours: set[int]) -> tuple[_Wire, _Wire]:
    ends = []
    for plain in socket.socketpair():
        end = _Wire(fileno=plain.detach())
        end.setblocking(False)
        end.ours = ours
        ours.add(end.fileno())
        ends.append(end)
    return ends[0], ends[1]


class JumpLoop(asyncio.SelectorEventLoop):
    """An event loop on jumping time.

    A connection to a server of this loop does not leave the process, so asyncio clients (the official SDK's, those of
    ``websockets``) and the server keep the clock to themselves; real connections to the same port work too.
    """

    def __init__(self) -> None:
        self._jumping = _JumpSelector()
        self._executing = 0
        self._servers: dict[tuple[str, int], Callable[[], asyncio.BaseProtocol]] = {}
        self._home = threading.get_ident()
        super().__init__(self._jumping)
        self._jumping.busy_outside = self._is_busy_outside
        # Its own waker is nobody else.
        self._jumping.ours |= {key.fd for key in self._jumping.get_map().values()}
        self._jumping.foreign = 0
        self.busy_elsewhere: Callable[[], bool] = lambda: False
        """Says whether threads that the loop does not know of work for it."""

    def time(self) -> float:
        """Return the time in seconds, which begins at `START_S`."""
        return self._jumping.now

    def drive(self, stepper: Stepper) -> None:
        """Step something at its times, until `leave`."""
        self._jumping.steppers.append(stepper)

    def leave(self, stepper: Stepper) -> None:
        """Do not step it any more; harmless for one that is not driven."""
        if stepper in self._jumping.steppers:
            self._jumping.steppers.remove(stepper)

    def _is_busy_outside(self) -> bool:
        return self._executing > 0 or self.busy_elsewhere()

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """Call something soon; from this thread it is no different from `call_soon`."""
        if threading.get_ident() == self._home:
            self._jumping.woken = True
            return self.call_soon(callback, *args, context=context)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Call a function in a thread; the clock does not jump until it has returned."""
        future = super().run_in_executor(executor, func, *args)
        self._executing += 1
        future.add_done_callback(self._executed)
        return future

    def _executed(self, _: object) -> None:
        self._executing -= 1

    async def shutdown_default_executor(self, *timeout_s: float | None) -> None:
        """Wait for the threads, which end in their own time; since Python 3.12 for so many seconds at most."""
        self._executing += 1
        try:
            await super().shutdown_default_executor(*timeout_s)
        finally:
            self._executing -= 1

    async def create_server(self, protocol_factory: Any, *args: Any, **kwargs: Any) -> Any:
        """Listen on a real port, and be found within the loop without it."""
        server = await super().create_server(protocol_factory, *args, **kwargs)
        for listening in server.sockets:
            self._servers[listening.getsockname()[:2]] = protocol_factory
            self._jumping.adopt(listening.fileno())
        return server

    def _stop_serving(self, sock: socket.socket) -> None:
        # The one place where asyncio closes a listener. Its number is somebody else's soon, and so may be its port.
        fd, address = sock.fileno(), sock.getsockname()[:2]
        super()._stop_serving(sock)  # type: ignore[misc]
        self._servers.pop(address, None)
        self._jumping.ours.discard(fd)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **kwargs: Any) -> Any:
        """Connect; to a server of this loop without leaving the process."""
        serve = self._servers.get((host, port))
        if serve is None or kwargs.get("ssl") or kwargs.get("sock") is not None:
            return await super().create_connection(protocol_factory, host, port, **kwargs)
        near, far = _wires(self._jumping.ours)
        await self.connect_accepted_socket(serve, far)
        return await super().create_connection(protocol_factory, sock=near)


class PlaneStepper:
    """Drives a media plane on jumping time: the place of `offhook.media.thread.MediaThread`."""

    def __init__(self, loop: JumpLoop, plane: MediaPlane) -> None:
        self._loop = loop
        self._plane = plane
        self._due = loop.time()
        self._resting = False

    @property
    def next_at(self) -> float:
        """When the plane is due; it rests while nobody calls."""
        if self._plane.idle:
            self._resting = True
            return math.inf
        if self._resting:
            self._resting = False
            self._due = self._plane.rested(self._loop.time())
        return self._due

    def start(self) -> None:
        """Begin."""
        self._due = self._plane.step(self._loop.time())
        self._loop.drive(self)

    def step(self, now: float) -> None:
        """Do what is due."""
        self._due = self._plane.passed_over(now) or self._plane.step(now)

    def stop(self) -> None:
        """Close all legs and end."""
        self._loop.leave(self)
        self._plane.close(self._loop.time())
