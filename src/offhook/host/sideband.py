"""What a socket has still to be told: a bounded queue between a conversation and one reader.

The queues of one project have a bound together, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from offhook.telemetry.log import FactLog
from offhook.telemetry.metrics import Metrics
from offhook.wire import limits


@dataclass(frozen=True, slots=True)
class Closing:
    """The socket is to be closed, after what was queued before."""

    code: int
    reason: str


# What is written at a time is in no queue any more, and a slow reader is not to be lent much of it.
MAX_WRITE_BYTES: Final = 65_536
TOO_SLOW = Closing(1008, "The events were not read fast enough.")
GONE = Closing(1000, "")


class Readers:
    """The sockets of one project. What waits for all of them together is bounded too: one key may open very many."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self.metrics = metrics or Metrics()
        self.waiting_bytes = 0
        self._sidebands: set[Sideband] = set()

    def __len__(self) -> int:
        return len(self._sidebands)

    def join(self, sideband: Sideband) -> None:
        """A socket was opened."""
        self._sidebands.add(sideband)

    def leave(self, sideband: Sideband) -> None:
        """A socket is gone; nothing waits for it any more."""
        self._sidebands.discard(sideband)

    def grow(self, size_bytes: int) -> None:
        """More waits for one of them: let those go that are furthest behind, while it is too much for all."""
        self.waiting_bytes += size_bytes
        while self.waiting_bytes > limits.MAX_PROJECT_BACKLOG_BYTES and self._sidebands:
            max(self._sidebands, key=lambda each: each.waiting_bytes).let_go("project")


class Sideband:
    """One attached socket. The call puts, the socket's writer takes; a reader that falls behind is let go."""

    def __init__(
        self,
        number: int,
        *,
        own_events: bool,
        backlog: int = limits.MAX_SIDEBAND_BACKLOG,
        readers: Readers | None = None,
        log: FactLog | None = None,
    ) -> None:
        self.number = number
        self.own_events = own_events
        self._backlog = backlog
        self._readers = Readers() if readers is None else readers
        self._log = log or FactLog("sockets")
        self._waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.closing: Closing | None = None
        """Why the socket is closed, once it is."""
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._write: Callable[[list[bytes]], bool] | None = None
        self._is_awaited = False
        self._readers.join(self)

    def write_by(self, write: Callable[[list[bytes]], bool]) -> None:
        """Let what is queued while somebody waits in `take` be written directly, at the end of the loop's turn.

        ``write`` says whether it could: where it cannot, the queue is taken as usual. That costs a task's turn.
        """
        self._write = write

    def put(self, text: bytes) -> None:
        """Queue an event. Beyond the limits the queue is dropped and the socket closed: the call never waits.

        An event that is the only one is queued whatever its size is.
        """
        if self.closing is not None:
            return
        waiting_bytes = self.waiting_bytes + len(text)
        if len(self._waiting) >= self._backlog or (self._waiting and waiting_bytes > limits.MAX_BACKLOG_BYTES):
            self.let_go("socket")
            return
        self._waiting.append(text)
        self.waiting_bytes = waiting_bytes
        if self._write is None or not self._is_awaited:
            self._news.set()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._flush)
        self._readers.grow(len(text))

    def let_go(self, bound: Literal["socket", "project"]) -> None:
        """Close the socket without what waits for it: more than it, or all of its project, may have."""
        self._log.warning(
            "a socket is closed: its events are not read",
            socket=self.number,
            bound=bound,
            waiting=len(self._waiting),
            waiting_bytes=self.waiting_bytes,
        )
        self._readers.metrics.count("offhook_slow_sockets_total", bound=bound)
        self.closing = None  # Events are lost, whatever it was to be closed for.
        self.close(TOO_SLOW)
        self.leave()

    def leave(self) -> None:
        """Nobody reads any more."""
        self._readers.leave(self)
        self._readers.waiting_bytes -= self.waiting_bytes
        self._waiting.clear()
        self.waiting_bytes = 0
        self.close(GONE)

    def close(self, closing: Closing) -> None:
        """Close the socket once everything queued was sent; the first reason counts."""
        if self.closing is None:
            self.closing = closing
            self._news.set()
            self._room.set()

    async def take(self) -> list[bytes] | Closing:
        """Wait for the next events, as many as are written at a time, or for the end."""
        waiting = self._waiting
        while not waiting:
            if self.closing is not None:
                self.leave()
                return self.closing
            self._news.clear()
            self._is_awaited = True
            try:
                await self._news.wait()
            finally:
                self._is_awaited = False
        texts = self._some()
        self._was_taken(texts)
        return texts

    def _flush(self) -> None:
        while self._waiting and self._is_awaited and self._write is not None:
            texts = self._some()
            if not self._write(texts):
                self._news.set()
                return
            self._was_taken(texts)

    def _some(self) -> list[bytes]:
        """Return as many of the next events as are written at a time, at least one."""
        texts: list[bytes] = []
        size_bytes = 0
        for text in self._waiting:
            size_bytes += len(text)
            if texts and size_bytes > MAX_WRITE_BYTES:
                break
            texts.append(text)
        return texts

    def _was_taken(self, texts: list[bytes]) -> None:
        for text in texts:
            self._waiting.popleft()
            self.waiting_bytes -= len(text)
            self._readers.waiting_bytes -= len(text)
        if self.has_room():
            self._room.set()

    async def room(self) -> None:
        """Wait until little enough is queued that a client who also reads cannot fill the rest by itself."""
        while not self.has_room():
            self._room.clear()
            await self._room.wait()

    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        is_little = len(self._waiting) <= self._backlog // 2 and self.waiting_bytes <= limits.MAX_ASKING_BYTES
        return is_little or self.closing is not None
