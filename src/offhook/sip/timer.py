"""Deadlines of many machines in one heap, so that the driver arms a single timer."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from math import inf

_COMPACT_ABOVE = 1024


class Timed:
    """Something with at most one deadline. ``due`` is when it wants to be woken, infinity for never."""

    __slots__ = ("due", "queued")

    def __init__(self) -> None:
        self.due = inf
        self.queued = inf


class Deadlines:
    """The deadlines of all ``Timed`` objects.

    Moving a deadline further away costs nothing: the heap entry is looked at when it comes up and put back. The heap is
    rebuilt when more than half of its entries belong to objects that want nothing any more, so it stays within twice
    what is needed.
    """

    __slots__ = ("_dead", "_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._serial = count()
        self._dead = 0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, timed: Timed, due: float) -> None:
        """Wake ``timed`` at ``due``; infinity means never."""
        timed.due = due
        if due < timed.queued:
            timed.queued = due
            heappush(self._heap, (due, next(self._serial), timed))

    def clear(self, timed: Timed) -> None:
        """Never wake ``timed`` again."""
        timed.due = inf
        if timed.queued != inf:
            self._dead += 1
            if self._dead > _COMPACT_ABOVE and self._dead * 2 > len(self._heap):
                self._compact()

    def next(self) -> float | None:
        """When the earliest deadline is, or None."""
        heap = self._heap
        while heap:
            when, _, timed = heap[0]
            if timed.queued != when:
                heappop(heap)
            elif timed.due > when:
                heappop(heap)
                timed.queued = inf
                self._requeue(timed)
            else:
                return when
        return None

    def pop_due(self, now: float) -> Timed | None:
        """The next object whose deadline has come, its deadline taken off; None when there is no more."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, timed = heappop(heap)
            if timed.queued != when:
                continue
            timed.queued = inf
            if timed.due <= now:
                timed.due = inf
                return timed
            self._requeue(timed)
        return None

    def _requeue(self, timed: Timed) -> None:
        if timed.due != inf:
            self.set(timed, timed.due)
        elif self._dead:
            self._dead -= 1

    def _compact(self) -> None:
        live = {id(timed): timed for _, _, timed in self._heap if timed.due != inf}
        for _, _, timed in self._heap:
            timed.queued = inf
        self._heap = []
        for timed in live.values():
            timed.queued = timed.due
            self._heap.append((timed.due, next(self._serial), timed))
        heapify(self._heap)
        self._dead = 0
