"""One timer for a machine that says when it wants to be woken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_GRAIN_S: Final = 0.001
"""uvloop's timers count whole milliseconds: less than a half is none, and rings again and again until it is due."""


class Alarm:
    """Wakes a machine at its next deadline, a time of ``clock`` in seconds.

    Deadlines move with all that happens, mostly to later: a timer that is early is left, wakes the machine for nothing,
    and is set again. Belongs to the running event loop.
    """

    __slots__ = ("_clock", "_for", "_timer", "_wake")

    def __init__(self, wake: Callable[[], None], clock: Callable[[], float]) -> None:
        self._wake = wake
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._for = 0.0

    @property
    def is_set(self) -> bool:
        """Whether it will wake the machine at all."""
        return self._timer is not None

    def set(self, deadline: float | None) -> None:
        """Wake it then at the latest; None asks for nothing."""
        if deadline is None:
            return
        if self._timer is not None:
            if self._for <= deadline:
                return
            self._timer.cancel()
        self._for = deadline
        left_s = deadline - self._clock()
        self._timer = asyncio.get_running_loop().call_later(max(left_s, _GRAIN_S) if left_s > 0 else 0, self._ring)

    def cancel(self) -> None:
        """Wake nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def retire(self) -> None:
        """Wake nobody ever again, and forget whom."""
        self.cancel()
        self._wake = _nobody

    def _ring(self) -> None:
        self._timer = None
        self._wake()


def _nobody() -> None:
    pass
