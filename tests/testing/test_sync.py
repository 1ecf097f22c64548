"""Applications that end what they should not, or do not end at all: the test says so, and does not wait for ever."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest

from offhook.errors import LocalError
from offhook.testing import sync
from offhook.testing.application import Webhook
from offhook.testing.box import PhoneOptions
from offhook.testing.sync import Handset, JumpingTime, RealTime

REAL = PhoneOptions(real=True, settings={"ring_seconds": 30.0})


def test_an_application_that_exits_does_not_let_the_test_wait_for_ever() -> None:
    async def answer(webhook: Webhook) -> None:
        sys.exit("no key is set")

    with Handset(REAL) as phone:
        phone.connect(answer)
        with pytest.raises(LocalError, match="no key is set"):
            phone.dial()
        phone.sleep(1)


def test_an_exit_that_happens_while_nobody_waits_is_told_at_the_next_word() -> None:
    clock = RealTime()
    exited = threading.Event()

    async def leave() -> None:
        try:
            sys.exit("later")
        finally:
            exited.set()

    kept: list[Any] = []

    async def begin() -> None:
        kept.append(asyncio.get_running_loop().call_later(0.05, lambda: kept.append(asyncio.ensure_future(leave()))))

    try:
        clock.run(begin())
        assert exited.wait(20)
        with pytest.raises(LocalError, match="later"):
            clock.run(asyncio.sleep(0.05))
        clock.run(asyncio.sleep(0))
    finally:
        clock.close()


@pytest.mark.parametrize("real", [False, True])
def test_a_thread_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch, real: bool) -> None:
    monkeypatch.setattr(sync, "CLOSE_S", 0.2)
    end = threading.Event()

    def asks_a_database_that_does_not_answer(webhook: Webhook) -> None:
        end.wait(60)

    def test() -> None:
        with Handset(PhoneOptions(real=real, settings={"ring_seconds": 0.5})) as phone:
            phone.connect(asks_a_database_that_does_not_answer)
            phone.dial()

    try:
        with pytest.raises(LocalError, match="asks_a_database_that_does_not_answer"):
            test()
    finally:
        end.set()


def test_a_task_that_refuses_to_end_is_named() -> None:
    clock = JumpingTime()
    tasks: list[Any] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    async def begin() -> None:
        tasks.append(asyncio.ensure_future(stubborn()))

    clock.run(begin())
    clock.run(asyncio.sleep(0))
    with pytest.raises(LocalError, match="stubborn"):
        clock.close()
    tasks[0].get_coro().close()
    tasks[0]._log_destroy_pending = False


def test_what_blocks_the_loop_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "CLOSE_S", 0.2)
    clock = RealTime()
    began, end = threading.Event(), threading.Event()

    def blocks() -> None:
        began.set()
        end.wait(60)

    async def begin() -> None:
        asyncio.get_running_loop().call_later(0.05, blocks)

    try:
        clock.run(begin())
        assert began.wait(20)
        with pytest.raises(LocalError, match="blocks"):
            clock.close()
    finally:
        end.set()
        monkeypatch.undo()
        clock._thread.join(20)
        sync.close_loop(clock._loop)
