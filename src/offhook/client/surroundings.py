"""What a client takes from the world besides sockets: time, pauses and chance. Tests bring their own."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct


def chance() -> float:
    """Return a number in [0, 1), without the import of a generator that is needed for a pause only."""
    return int.from_bytes(os.urandom(4)) / 2**32


async def pause(seconds: float) -> None:
    """Let ``seconds`` pass in the event loop."""
    import asyncio

    await asyncio.sleep(seconds)


class Surroundings(Struct, frozen=True):
    """Where pauses, chance and the time of day come from."""

    sleep: Callable[[float], None] = time.sleep
    pause: Callable[[float], Awaitable[None]] = pause
    chance: Callable[[], float] = chance
    unix_s: Callable[[], float] = time.time
