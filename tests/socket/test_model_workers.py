"""Model workers as real processes: what they print, how they die, who waits for them, and that none is left behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local.pool import Pool, PoolOptions, Request, Urgency

ENGINE = "tests.socket.worker_engine:load"
ROOT = Path(__file__).parents[2]
HOLD = {"do": "hold"}
ECHO = {"do": "echo", "sound": b""}


def with_pool(test: Callable[[Pool], Coroutine[Any, Any, None]], **changes: Any) -> Pool:
    pool = Pool(PoolOptions("the test model", ENGINE, **changes))

    async def whole() -> None:
        async with asyncio.timeout(120):
            await pool.start()
            try:
                await test(pool)
            finally:
                await pool.stop()

    asyncio.run(whole())
    return pool


def test_workers_of_the_servers_own_event_loop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def whole() -> None:
        pool = Pool(PoolOptions("the test model", ENGINE, restart_delays_s=(0.0,)))
        await pool.start()
        assert await refusal(pool.ask({"do": "die"})) == "model_worker_died"
        assert len(await results(pool.ask(ECHO))) == 1
        await pool.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(whole())


async def results(request: Request) -> list[dict[str, Any]]:
    return [result async for result in request.results()]


async def refusal(request: Request) -> str:
    with pytest.raises(ModelError) as caught:
        await results(request)
    return caught.value.code


async def held(pool: Pool) -> Request:
    """Return a request that has the worker until it is cancelled."""
    request = pool.ask(HOLD)
    assert await anext(request.results()) == {"holding": True}
    return request


def test_results_are_streamed_and_sound_stays_as_it_is() -> None:
    sound = bytes(range(256)) * 20_000

    async def test(pool: Pool) -> None:
        assert await results(pool.ask({"do": "count", "to": 3})) == [{"number": number} for number in range(3)]
        (answer,) = await results(pool.ask({"do": "echo", "sound": sound}))
        assert answer["sound"] == sound

    pool = with_pool(test)
    assert pool.counters.finished == 2
    assert pool.about["threads"] == "1"
    assert pool.about["niceness"] > os.nice(0) or os.nice(0) == 19


def test_what_libraries_print_does_not_disturb_the_frames() -> None:
    async def test(pool: Pool) -> None:
        assert await results(pool.ask({"do": "print"})) == [{"printed": True}]
        assert len(await results(pool.ask(ECHO))) == 1

    with_pool(test)


@pytest.mark.parametrize(("how", "attempts"), [("die", 2), ("garbage", 2), ("begin and die", 1)])
def test_a_worker_that_dies_fails_its_request_and_the_next_one_works(how: str, attempts: int) -> None:
    """What may have killed its worker has a second one; what had begun to answer has not."""

    async def test(pool: Pool) -> None:
        (before,) = pool.pids
        waiting = [pool.ask({"do": how}), pool.ask(ECHO)]
        assert await refusal(waiting[0]) == "model_worker_died"
        assert len(await results(waiting[1])) == 1, "one that only waited is not harmed"
        assert pool.pids != [before]

    pool = with_pool(test, wait_s=30.0, restart_delays_s=(0.0,))
    assert (pool.counters.died, pool.counters.retried) == (attempts, attempts - 1)


def test_a_worker_that_hangs_is_killed_and_its_request_is_too_old_for_another() -> None:
    now = [0.0]

    async def test() -> None:
        pool = Pool(PoolOptions("the test model", ENGINE, task_s=0.3, restart_delays_s=(0.0,)), clock=lambda: now[0])
        await pool.start()
        hanging = pool.ask({"do": "hang"})
        await asyncio.sleep(0)
        now[0] = 30.0
        assert await refusal(hanging) == "model_worker_died"
        assert len(await results(pool.ask(ECHO))) == 1
        assert (pool.counters.died, pool.counters.retried) == (1, 0)
        await pool.stop()

    asyncio.run(test())


def test_a_request_whose_worker_dies_is_served_by_the_next_one(tmp_path: Path) -> None:
    async def test(pool: Pool) -> None:
        unlucky, other = pool.ask({"do": "die once", "path": str(tmp_path / "died")}), pool.ask(ECHO)
        assert await results(unlucky) == [{"served": 1}]
        assert (await results(other))[0]["served"] == 2, "it kept its place"

    pool = with_pool(test, wait_s=30.0)
    assert (pool.counters.died, pool.counters.retried, pool.counters.failed) == (1, 1, 0)


def test_a_request_that_is_cancelled_before_its_worker_dies_is_not_begun_again() -> None:
    async def test(pool: Pool) -> None:
        request = await held(pool)
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        request.cancel()
        os.kill(pid, signal.SIGKILL)
        assert (await results(pool.ask(ECHO)))[0]["served"] == 1

    pool = with_pool(test, wait_s=30.0)
    assert (pool.counters.died, pool.counters.retried) == (1, 0)


def test_a_worker_that_dies_while_it_has_nothing_to_do_is_replaced_at_once() -> None:
    async def test(pool: Pool) -> None:
        (before,) = pool.pids
        os.kill(before, signal.SIGKILL)
        while not pool.counters.died:  # noqa: ASYNC110 - a pool tells nobody that it has noticed
            await asyncio.sleep(0)
        assert len(await results(pool.ask(ECHO))) == 1
        assert pool.pids != [before]

    with_pool(test)


def test_a_worker_that_cannot_be_started_again_refuses_without_delay(tmp_path: Path) -> None:
    async def test(pool: Pool) -> None:
        dying, waiting = pool.ask({"do": "die"}), pool.ask(ECHO)
        assert [await refusal(request) for request in (dying, waiting)] == ["model_unavailable"] * 2
        with pytest.raises(ModelError, match="not running"):
            pool.ask(ECHO)

    with_pool(test, load={"broken_from": str(tmp_path / "once")}, restart_delays_s=(0.0, 60.0))


def test_failures_of_the_engine_keep_the_worker() -> None:
    async def test(pool: Pool) -> None:
        assert await refusal(pool.ask({"do": "fail"})) == "unsupported_language"
        assert await refusal(pool.ask({"do": "bug"})) == "server_error"
        (answer,) = await results(pool.ask(ECHO))
        assert answer["served"] == 3, "the same worker"

    with_pool(test)


def test_an_engine_that_does_not_stop_is_stopped() -> None:
    async def test(pool: Pool) -> None:
        assert await refusal(pool.ask({"do": "flood"})) == "model_error"
        assert len(await results(pool.ask(ECHO))) == 1

    with_pool(test)


def test_a_full_queue_refuses_and_says_so() -> None:
    async def test(pool: Pool) -> None:
        holding = await held(pool)
        waiting = pool.ask(ECHO)
        with pytest.raises(ModelError, match="too busy") as caught:
            pool.ask(ECHO)
        assert caught.value.code == "overloaded"
        holding.cancel()
        assert len(await results(waiting)) == 1

    pool = with_pool(test, waiting=1)
    assert pool.counters.refused == 1


def test_what_a_caller_waits_for_takes_the_place_of_a_guess() -> None:
    async def test(pool: Pool) -> None:
        holding = await held(pool)
        older = pool.ask(ECHO, Urgency.SPECULATIVE)
        newer = pool.ask(ECHO, Urgency.SPECULATIVE)
        with pytest.raises(ModelError):
            pool.ask(ECHO, Urgency.SPECULATIVE)
        awaited = pool.ask(ECHO)
        assert await refusal(newer) == "overloaded"
        holding.cancel()
        served = [(await results(request))[0]["served"] for request in (awaited, older)]
        assert served == [2, 3], "the awaited one first, though it came later"

    with_pool(test, waiting=2)


def test_a_guess_that_comes_true_goes_before_other_guesses() -> None:
    async def test(pool: Pool) -> None:
        holding = await held(pool)
        first, second = (pool.ask(ECHO, Urgency.SPECULATIVE) for _ in range(2))
        second.hasten(Urgency.AWAITED)
        holding.cancel()
        assert [(await results(request))[0]["served"] for request in (second, first)] == [2, 3]

    with_pool(test)


def test_a_cancelled_request_that_waits_costs_the_worker_nothing() -> None:
    async def test(pool: Pool) -> None:
        holding = await held(pool)
        unwanted, wanted = pool.ask(ECHO), pool.ask(ECHO)
        unwanted.cancel()
        holding.cancel()
        assert await refusal(unwanted) == "cancelled"
        assert (await results(wanted))[0]["served"] == 2

    pool = with_pool(test)
    assert pool.counters.cancelled == 2


def test_results_are_kept_for_whoever_comes_later_and_as_often_as_wanted() -> None:
    async def test(pool: Pool) -> None:
        request = pool.ask({"do": "count", "to": 2})
        for _ in range(2):
            assert len(await results(request)) == 2
        request.cancel()
        assert len(await results(request)) == 2, "too late to cancel"

    with_pool(test)


def test_a_request_that_no_worker_takes_up_is_refused_in_time() -> None:
    async def test(pool: Pool) -> None:
        await held(pool)
        assert await refusal(pool.ask(ECHO)) == "overloaded"

    with_pool(test, wait_s=0.05)


def test_the_wait_of_the_queue_is_measured() -> None:
    now = [100.0]
    pool = Pool(PoolOptions("the test model", ENGINE), clock=lambda: now[0])

    async def test() -> None:
        await pool.start()
        assert pool.queue_wait_ms == 0
        holding = await held(pool)
        speculative, awaited = pool.ask(ECHO, Urgency.SPECULATIVE), pool.ask(ECHO)
        now[0] += 0.8
        assert pool.queue_wait_ms == pytest.approx(800), "as long as the oldest has waited"
        holding.cancel()
        await results(awaited)
        await results(speculative)
        assert awaited.waited_ms == pytest.approx(800)
        assert pool.queue_wait_ms == pytest.approx(400), "the mean of those that were awaited: 0 and 800"
        now[0] += 60
        assert pool.queue_wait_ms == 0
        await pool.stop()

    asyncio.run(test())


def test_two_workers_work_at_a_time() -> None:
    async def test(pool: Pool) -> None:
        holding = [await held(pool), await held(pool)]
        assert len(set(pool.pids)) == 2
        for each in holding:
            each.cancel()

    with_pool(test, workers=2)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ({"missing": True}, r"nothing is installed \(pip install 'offhook\[local\]'\)"),
        ({"crashes": True}, "from the moon"),
    ],
)
def test_a_worker_that_cannot_load_says_what_to_mend(load: dict[str, Any], words: str) -> None:
    async def test(pool: Pool) -> None:
        raise AssertionError("it started")

    with pytest.raises(ConfigError, match=words):
        with_pool(test, load=load, workers=2)


def test_an_engine_that_does_not_exist_is_said_so() -> None:
    async def test() -> None:
        await Pool(PoolOptions("the test model", "tests.socket.worker_engine:nothing")).start()

    with pytest.raises(ConfigError, match="has no attribute 'nothing'"):
        asyncio.run(test())


def test_stopping_ends_the_processes_and_every_open_request() -> None:
    async def test() -> None:
        pool = Pool(PoolOptions("the test model", ENGINE, workers=2))
        await pool.start()
        open_ = [await held(pool), await held(pool), pool.ask(ECHO)]
        pids = pool.pids
        await pool.stop()
        assert [await refusal(request) for request in open_] == ["model_unavailable"] * 3
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        with pytest.raises(ModelError):
            pool.ask(ECHO)

    asyncio.run(test())


SERVER = f"""
import asyncio
from offhook.model.local.pool import Pool, PoolOptions
async def main():
    pool = Pool(PoolOptions("the test model", "{ENGINE}"))
    await pool.start()
    request = pool.ask({{"do": "hang"}})
    busy = asyncio.ensure_future(anext(request.results()))
    await asyncio.sleep(0)
    print(pool.pids[0], flush=True)
    await busy
asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux: watches a process of others")
def test_a_worker_does_not_outlive_a_server_that_was_killed_even_in_the_midst_of_work() -> None:
    path = os.pathsep.join(sys.path)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}
    )
    assert server.stdout is not None
    worker = os.pidfd_open(int(server.stdout.readline()))
    server.kill()
    server.wait()
    server.stdout.close()
    ended, _, _ = select.select([worker], [], [], 10)
    os.close(worker)
    assert ended
