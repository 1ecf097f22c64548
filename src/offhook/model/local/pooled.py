"""What the local models have in common: a pool does their work."""

from __future__ import annotations

from typing import Any

from offhook.model.local.pool import Counters, Pool


class Pooled:
    """A part of a cascade whose work is done by the workers of a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def start(self) -> None:
        """Load and warm the workers. Raises ConfigError with the line that mends it."""
        await self._pool.start()

    async def stop(self) -> None:
        """End the workers."""
        await self._pool.stop()

    @property
    def about(self) -> dict[str, Any]:
        """What the model says of itself."""
        return self._pool.about

    @property
    def counters(self) -> Counters:
        """What became of the requests."""
        return self._pool.counters

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that live."""
        return self._pool.pids

    def report(self) -> dict[str, Any]:
        """Return the figures of its workers and of the queue in front of them."""
        return self._pool.report()

    @property
    def queue_wait_ms(self) -> float:
        """How long a request waits for a worker these days."""
        return self._pool.queue_wait_ms
