"""The network in memory of `offhook.testing.link`, with a clock that tests set by hand."""

from __future__ import annotations

from offhook.testing import link
from offhook.testing.link import MemoryPair, MemoryPoller, MemoryPort, Weather

__all__ = ["MemoryNetwork", "MemoryPair", "MemoryPoller", "MemoryPort", "Weather"]


class MemoryNetwork(link.MemoryNetwork):
    """Ports, and the time as ``now``."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__(lambda: self.now, seed)
        self.now = 0.0
