"""What waits for a disk: put by the event loop, which never waits, and taken by the thread that writes."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, Generic, TypeVar

# Some seconds of a busy server; a disk that is slower than this for longer has to lose something.
MAX_WAITING: Final = 20_000
# Lines of journals have some hundred bytes, but a client may say megabytes at once: three of the largest events.
MAX_WAITING_BYTES: Final = 64 * 1024 * 1024

Work = TypeVar("Work")


class Backlog(Generic[Work]):
    """A queue that is bounded in number and in bytes."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._waiting: deque[tuple[Work, int]] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def size_bytes(self) -> int:
        """What waits, in bytes."""
        return self._size_bytes

    def put(self, work: Work, size_bytes: int) -> bool:
        """Leave something to the writer; False when there is no room for it."""
        with self._news:
            if len(self._waiting) >= MAX_WAITING or self._size_bytes + size_bytes > MAX_WAITING_BYTES:
                return False
            self._add(work, size_bytes)
            return True

    def put_end(self, work: Work) -> None:
        """Leave the end of something to the writer, for which there is always room: there is one of each beginning."""
        with self._news:
            self._add(work, 0)

    def _add(self, work: Work, size_bytes: int) -> None:
        self._waiting.append((work, size_bytes))
        self._size_bytes += size_bytes
        self._news.notify()

    def take(self) -> Work:
        """Wait for what came first, and return it."""
        with self._news:
            self._news.wait_for(lambda: self._waiting)
            work, size_bytes = self._waiting.popleft()
            self._size_bytes -= size_bytes
            return work
