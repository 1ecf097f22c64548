"""The application that the tests play, on the official SDK, and what they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.socket.live import PATIENCE_S, Incoming, Live, until


async def accept(one: Live, event: Incoming) -> None:
    """Accept a call with nothing special."""
    await one.calls.accept(event.data.call_id, type="realtime")


async def stand(one: Live, event: Incoming) -> None:
    """Accept, and wait for the ACK: SIPp gives up on a request that comes while it still wants to send."""
    await accept(one, event)
    await until(lambda: not any(leg.unacknowledged for leg in one.server.agent.legs))


async def over(one: Live, call_id: str) -> dict[str, Any]:
    """Wait for the end of a call; return its record."""
    return await _record(one, call_id, lambda record: record["state"] == "ended")


async def outcome(one: Live, call_id: str) -> dict[str, Any]:
    """Wait until nothing more will be heard of a call's transfer; return the call's record."""
    return await _record(one, call_id, lambda record: record["refer"] is not None and record["refer"]["final"])


async def _record(one: Live, call_id: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        while not wanted(record := await one.record(call_id)):  # noqa: ASYNC110 - it is over in another program
            await asyncio.sleep(0.01)
    return record
