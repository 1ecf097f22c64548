"""What clients say while a call still rings: a bounded queue before there is a session to say it to."""

from __future__ import annotations

from offhook.call.call import Input
from offhook.wire import limits


class EarlyEvents:
    """Keeps inputs in their order until the session takes them. What is beyond the limits is refused and counted."""

    def __init__(self) -> None:
        self._waiting: list[Input] = []
        self._size_bytes = 0
        self.refused = 0

    def put(self, event: Input, size_bytes: int) -> bool:
        """Keep an input of so many bytes; False when there is no room for it."""
        too_large = self._size_bytes + size_bytes > limits.MAX_EARLY_BYTES
        if too_large or len(self._waiting) >= limits.MAX_CALL_INBOX:
            self.refused += 1
            return False
        self._waiting.append(event)
        self._size_bytes += size_bytes
        return True

    def take_all(self) -> list[Input]:
        """Return what waited, and keep nothing."""
        waiting, self._waiting = self._waiting, []
        self._size_bytes = 0
        return waiting
