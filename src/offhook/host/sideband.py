"""What a socket has still to be told: a bounded queue between a conversation and one reader."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

from offhook.wire import limits


@dataclass(frozen=True, slots=True)
class Closing:
    """The socket is to be closed, after what was queued before."""

    code: int
    reason: str


# What is written at a time is in no queue any more, and a slow reader is not to be lent much of it.
MAX_WRITE_BYTES: Final = 65_536
TOO_SLOW = Closing(1008, "The events were not read fast enough.")


class Sideband:
    """One attached socket. The call puts, the socket's writer takes; a reader that falls behind is let go."""

    def __init__(self, number: int, *, own_events: bool, backlog: int = limits.MAX_SIDEBAND_BACKLOG) -> None:
        self.number = number
        self.own_events = own_events
        self._backlog = backlog
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self.closing: Closing | None = None
        """Why the socket is closed, once it is."""
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, text: bytes) -> None:
        """Queue an event. Beyond the limits the queue is dropped and the socket closed: the call never waits.

        An event that is the only one is queued whatever its size is.
        """
        if self.closing is not None:
            return
        waiting_bytes = self._waiting_bytes + len(text)
        if len(self._waiting) >= self._backlog or (self._waiting and waiting_bytes > limits.MAX_BACKLOG_BYTES):
            self._waiting.clear()
            self._waiting_bytes = 0
            self.close(TOO_SLOW)
            return
        self._waiting.append(text)
        self._waiting_bytes = waiting_bytes
        self._news.set()

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
                return self.closing
            self._news.clear()
            await self._news.wait()
        texts = [waiting.popleft()]
        size_bytes = len(texts[0])
        while waiting and (size_bytes := size_bytes + len(waiting[0])) <= MAX_WRITE_BYTES:
            texts.append(waiting.popleft())
        self._waiting_bytes -= sum(map(len, texts))
        if self.has_room():
            self._room.set()
        return texts

    async def room(self) -> None:
        """Wait until little enough is queued that a client who also reads cannot fill the rest by itself."""
        while not self.has_room():
            self._room.clear()
            await self._room.wait()

    def has_room(self) -> bool:
        """Whether `room` would not wait."""
        is_little = len(self._waiting) <= self._backlog // 2 and self._waiting_bytes <= limits.MAX_ASKING_BYTES
        return is_little or self.closing is not None
