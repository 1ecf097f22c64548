"""Time jumps when nothing can be done, and waits for what cannot be hurried."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.media_world import World

from offhook.audio.turn import TurnOptions
from offhook.media.command import LegOptions
from offhook.media.vad import load_silero
from offhook.testing.clock import JumpLoop, StuckError
from offhook.testing.sync import close_loop
from offhook.testing.voice import voice


@pytest.fixture
def loop() -> Iterator[JumpLoop]:
    made = JumpLoop()
    yield made
    close_loop(made)


def test_an_hour_of_sleep_takes_no_time(loop: JumpLoop) -> None:
    order: list[tuple[float, str]] = []

    async def wake(name: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        order.append((loop.time() - began, name))

    async def whole() -> None:
        await asyncio.gather(wake("late", 3600.0), wake("soon", 0.5), wake("later", 3600.5))

    began = loop.time()
    loop.run_until_complete(whole())
    assert [(round(at_s, 6), name) for at_s, name in order] == [(0.5, "soon"), (3600.0, "late"), (3600.5, "later")]


def test_time_does_not_jump_over_the_work_of_a_thread(loop: JumpLoop) -> None:
    async def whole() -> str:
        async with asyncio.timeout(20):
            return await asyncio.to_thread(lambda: time.sleep(0.1) or "done")  # type: ignore[func-returns-value]

    assert loop.run_until_complete(whole()) == "done"
    assert loop.time() < 1020


def test_a_thread_that_waits_for_a_timer_of_the_loop_gets_it(loop: JumpLoop) -> None:
    """Time stands still for a moment when a thread begins, and then it has to run."""
    done = threading.Event()

    async def whole() -> bool:
        loop.call_later(0.05, done.set)
        return await asyncio.to_thread(done.wait, 60)

    assert loop.run_until_complete(whole())
    assert loop.time() < 1020


def test_time_does_not_jump_while_somebody_elses_socket_is_open(loop: JumpLoop) -> None:
    """A database or another service answers in its own time, over connections that the loop did not make."""

    async def whole() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
        writer.write(b"question")
        async with asyncio.timeout(20):
            said = await reader.read(100)
        writer.close()
        server.close()
        return said

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100) + b" answered")
        writer.close()

    assert loop.run_until_complete(whole()) == b"question answered"
    assert loop.time() < 1020


def test_a_connection_within_the_loop_takes_no_time_at_all(loop: JumpLoop) -> None:
    async def whole() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(b"question")
        said = await reader.read(100)
        writer.close()
        server.close()
        return said

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read(100)
        await asyncio.sleep(60)
        writer.write(said + b" answered")
        writer.close()

    assert loop.run_until_complete(whole()) == b"question answered"
    assert loop.time() == 1060


def test_a_stranger_that_gets_the_number_of_a_closed_listener_is_waited_for(loop: JumpLoop) -> None:
    """Else the clock would jump over what it does, and count it wrongly ever after."""

    async def whole() -> tuple[bytes, float]:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        number = server.sockets[0].fileno()
        plain, far = socket.socketpair()
        server.close()
        await asyncio.sleep(0)
        with plain, far, socket.socket(fileno=os.dup2(plain.fileno(), number)) as near:
            near.setblocking(False)
            threading.Timer(0.1, far.send, [b"late"]).start()
            async with asyncio.timeout(20):
                said = await loop.sock_recv(near, 100)
            at_s = loop.time()
        again = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        assert loop._jumping.foreign == 0, "otherwise an hour takes an hour"
        again.close()
        return said, at_s

    said, at_s = loop.run_until_complete(whole())
    assert said == b"late"
    assert at_s < 1020


def test_a_closed_server_is_not_found_within_the_loop_any_more(loop: JumpLoop) -> None:
    async def whole() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    loop.run_until_complete(whole())


def test_a_server_that_does_not_serve_yet_is_nobody_who_is_waited_for(loop: JumpLoop) -> None:
    async def whole() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, start_serving=False)
        await asyncio.sleep(3600)
        await server.start_serving()
        await asyncio.sleep(3600)
        server.close()

    loop.run_until_complete(whole())
    assert loop.time() == 8200


def test_waiting_for_what_never_comes_is_an_error_and_no_standstill(loop: JumpLoop) -> None:
    with pytest.raises(StuckError):
        loop.run_until_complete(asyncio.Event().wait())


def test_waiting_for_ever_with_a_timer_that_goes_on_is_an_error_too(loop: JumpLoop) -> None:
    async def tick() -> None:
        for _ in range(1000):
            await asyncio.sleep(3600)

    with pytest.raises(StuckError, match="a day"):
        loop.run_until_complete(tick())


def said(world: World) -> tuple[list[Any], list[Any]]:
    """Let one side of a call speak and the other answer; return what followed, with its times."""
    phone, _ = world.call(options=LegOptions(turns=TurnOptions()))
    world.run(503)
    phone.say(voice(900))
    world.run(700)
    world.plane.play("leg", 1, voice(1200, seed=1), 8000)
    world.plane.finish_run("leg", 1)
    world.run(1501)
    world.plane.close_leg("leg")
    world.run(100)
    return list(zip(world.edges, world.edge_times, strict=True)), phone.packets


def test_steps_that_are_passed_over_change_nothing() -> None:
    """Who leaves out the steps in which nothing is due hears and sends the same at the same instants."""
    every, some = World(seed=3, detector=load_silero()), World(seed=3, detector=load_silero())
    step, stepped = some.plane.step, []

    def left_out(now: float) -> float:
        passed = some.plane.passed_over(now)
        if passed is None:
            stepped.append(now)
        return step(now) if passed is None else passed

    some.plane.step = left_out  # type: ignore[method-assign]
    assert said(some) == said(every)
    assert len(stepped) < 2804 / 5 * 0.7
