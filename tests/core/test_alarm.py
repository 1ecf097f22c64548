"""The one timer of a machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from offhook.net.alarm import Alarm
from offhook.testing.clock import JumpLoop


def woken(test: Callable[[Alarm, float], Coroutine[Any, Any, None]]) -> list[int]:
    """Run a test on jumping time and return when the machine was woken, in ms after the start."""

    async def whole() -> list[int]:
        clock = asyncio.get_running_loop().time
        began, times = clock(), []
        alarm = Alarm(lambda: times.append(round((clock() - began) * 1000)), clock)
        await test(alarm, began)
        await asyncio.sleep(100)
        return times

    with asyncio.Runner(loop_factory=JumpLoop) as runner:
        return runner.run(whole())


def test_the_machine_is_woken_at_its_deadline_and_once() -> None:
    async def test(alarm: Alarm, now: float) -> None:
        alarm.set(None)
        alarm.set(now + 2)
        alarm.set(None)
        alarm.set(now + 2)

    assert woken(test) == [2000]


def test_a_deadline_that_comes_nearer_is_kept_and_one_that_goes_away_wakes_for_nothing() -> None:
    async def test(alarm: Alarm, now: float) -> None:
        alarm.set(now + 5)
        alarm.set(now + 1)
        await asyncio.sleep(3)
        alarm.set(now + 4)
        alarm.set(now + 9)

    assert woken(test) == [1000, 4000]


def test_a_deadline_of_the_past_wakes_at_once_but_not_from_within() -> None:
    async def test(alarm: Alarm, now: float) -> None:
        alarm.set(now - 7)

    assert woken(test) == [0]


def test_a_cancelled_alarm_wakes_nobody_until_it_is_set_again() -> None:
    async def test(alarm: Alarm, now: float) -> None:
        alarm.set(now + 1)
        alarm.cancel()
        alarm.cancel()
        await asyncio.sleep(5)
        alarm.set(now + 8)

    assert woken(test) == [8000]


def test_a_loop_of_whole_milliseconds_does_not_ring_again_and_again_until_a_deadline() -> None:
    async def whole() -> int:
        loop = asyncio.get_running_loop()
        rings, due = 0, asyncio.Event()

        def wake() -> None:
            nonlocal rings
            rings += 1
            if time.monotonic() < deadline:
                alarm.set(deadline)
            else:
                due.set()

        alarm = Alarm(wake, time.monotonic)
        async with asyncio.timeout(20):
            for tenth_ms in range(10, 40):
                due.clear()
                deadline = time.monotonic() + tenth_ms / 10_000
                loop.call_soon(alarm.set, deadline)
                await due.wait()
        return rings

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert 30 <= runner.run(whole()) <= 90
