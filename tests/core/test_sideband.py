"""What a socket has still to be told, and what happens to one that is not read."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from offhook.host.sideband import MAX_WRITE_BYTES, TOO_SLOW, Closing, Readers, Sideband
from offhook.telemetry.log import FactLog
from offhook.telemetry.metrics import Metrics
from offhook.wire import limits

ENOUGH = Closing(1000, "")


def test_what_waits_is_given_out_in_order_and_before_the_end() -> None:
    sideband = Sideband(1, own_events=False)
    for number in range(5):
        sideband.put(b"%d" % number)
    sideband.close(ENOUGH)
    sideband.put(b"after the end")
    assert asyncio.run(sideband.take()) == [b"0", b"1", b"2", b"3", b"4"]
    assert asyncio.run(sideband.take()) == ENOUGH


def test_no_more_is_given_out_at_a_time_than_is_written_at_a_time() -> None:
    sideband = Sideband(1, own_events=False)
    sizes = [MAX_WRITE_BYTES // 2, MAX_WRITE_BYTES // 2, 1, 3 * MAX_WRITE_BYTES, 1]
    for size_bytes in sizes:
        sideband.put(bytes(size_bytes))
    given = []
    for _ in range(4):
        texts = asyncio.run(sideband.take())
        assert isinstance(texts, list)
        given.append([len(text) for text in texts])
    assert given == [sizes[:2], [1], [3 * MAX_WRITE_BYTES], [1]]


def test_a_reader_that_falls_behind_is_let_go_and_told_nothing_more() -> None:
    sideband = Sideband(1, own_events=False)
    for _ in range(limits.MAX_SIDEBAND_BACKLOG):
        sideband.put(b"{}")
    sideband.put(b"one too many")
    sideband.close(ENOUGH)
    assert asyncio.run(sideband.take()) == TOO_SLOW


def test_a_reader_that_falls_behind_large_events_is_let_go_before_they_are_many() -> None:
    sideband = Sideband(1, own_events=False)
    text = bytes(limits.MAX_BACKLOG_BYTES // 4)
    for _ in range(4):
        sideband.put(text)
    assert sideband.closing is None
    sideband.put(b"one too many")
    assert asyncio.run(sideband.take()) == TOO_SLOW


def test_an_event_larger_than_all_that_may_wait_is_told_to_who_reads() -> None:
    sideband = Sideband(1, own_events=False)
    text = bytes(limits.MAX_BACKLOG_BYTES + 1)
    for _ in range(3):
        sideband.put(text)
        assert asyncio.run(sideband.take()) == [text]
    assert sideband.closing is None


def test_a_client_with_much_to_read_is_not_asked_for_more_until_it_has() -> None:
    async def test() -> list[bool]:
        sideband = Sideband(1, own_events=False)
        for _ in range(3):
            sideband.put(bytes(limits.MAX_ASKING_BYTES // 2 + 1))
        waiting = asyncio.ensure_future(sideband.room())
        let_in = []
        for _ in range(3):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            let_in.append(waiting.done())
            await sideband.take()
        return let_in

    assert asyncio.run(test()) == [False, False, True]


def test_there_is_room_again_when_half_of_what_waited_is_taken() -> None:
    async def test() -> list[int]:
        sideband = Sideband(1, own_events=False, backlog=8)
        for _ in range(8):
            sideband.put(bytes(MAX_WRITE_BYTES // 2))
        waiting = asyncio.ensure_future(sideband.room())
        taken = []
        while not waiting.done():
            taken.append(len(await sideband.take()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return taken

    assert asyncio.run(test()) == [2, 2]


def test_of_the_sockets_of_one_project_the_one_furthest_behind_is_let_go_when_all_are_too_far(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "MAX_PROJECT_BACKLOG_BYTES", 100)
    metrics = Metrics()
    readers, others = Readers(metrics), Readers(metrics)
    log = FactLog("test")
    first, second, third = (
        Sideband(number, own_events=False, readers=readers, log=log.bind(call_id="rtc_1")) for number in (1, 2, 3)
    )
    stranger = Sideband(4, own_events=False, readers=others, log=log)
    first.put(bytes(30))
    for _ in range(2):
        second.put(bytes(25))
    stranger.put(bytes(90))
    with caplog.at_level(logging.WARNING):
        third.put(bytes(20))
        assert [each.closing for each in (first, second, third)] == [None, None, None]
        first.put(bytes(1))
    assert [each.closing for each in (first, second, third, stranger)] == [None, TOO_SLOW, None, None]
    assert asyncio.run(second.take()) == TOO_SLOW
    assert asyncio.run(first.take()) == [bytes(30), bytes(1)]
    assert (readers.waiting_bytes, others.waiting_bytes) == (20, 90)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        "a socket is closed: its events are not read call_id=rtc_1 socket=2 bound=project waiting=2 waiting_bytes=50"
    )
    assert 'offhook_slow_sockets_total{bound="project"} 1' in metrics.text({}).splitlines()


def test_what_a_socket_was_not_told_counts_no_more_once_it_is_gone() -> None:
    readers = Readers()
    gone, told = (Sideband(number, own_events=False, readers=readers) for number in (1, 2))
    gone.put(bytes(10))
    told.put(bytes(20))
    gone.leave()
    gone.put(b"too late")
    assert readers.waiting_bytes == 20
    told.close(ENOUGH)
    assert asyncio.run(told.take()) == [bytes(20)]
    assert asyncio.run(told.take()) == ENOUGH
    assert (readers.waiting_bytes, len(readers)) == (0, 0)


def test_a_reader_that_falls_behind_by_itself_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    sideband = Sideband(1, own_events=False, backlog=2, log=FactLog("test", session_id="sess_1"))
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            sideband.put(b"{}")
    assert [record.getMessage() for record in caplog.records] == [
        "a socket is closed: its events are not read session_id=sess_1 socket=1 bound=socket waiting=2 waiting_bytes=4"
    ]


@pytest.mark.parametrize("seed", range(5))
def test_what_waits_for_a_project_is_what_waits_for_its_sockets_whatever_happens(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sum that drifts would close the sockets of those who read everything."""
    monkeypatch.setattr(limits, "MAX_PROJECT_BACKLOG_BYTES", 500_000)
    monkeypatch.setattr(limits, "MAX_BACKLOG_BYTES", 200_000)
    chance = random.Random(seed)

    async def test() -> None:
        readers = Readers()
        sidebands = [Sideband(number, own_events=False, backlog=20, readers=readers) for number in range(8)]
        for _ in range(2_000):
            sideband = chance.choice(sidebands)
            match chance.choices(["put", "take", "close", "leave"], [60, 35, 1, 1])[0]:
                case "put":
                    sideband.put(bytes(chance.choice([100, 5_000, 60_000])))
                case "take" if sideband.waiting_bytes or sideband.closing:
                    await sideband.take()
                case "close":
                    sideband.close(ENOUGH)
                case "leave":
                    sideband.leave()
            assert readers.waiting_bytes == sum(each.waiting_bytes for each in sidebands) <= 500_000
            if sideband.closing and not sideband.waiting_bytes:
                await sideband.take()
                sidebands.remove(sideband)
                sidebands.append(Sideband(sideband.number, own_events=False, backlog=20, readers=readers))
            assert len(readers) <= len(sidebands), "those that were let go have left"
        for sideband in sidebands:
            sideband.close(ENOUGH)
            while isinstance(await sideband.take(), list):
                pass
        assert (readers.waiting_bytes, len(readers)) == (0, 0)

    asyncio.run(test())


def test_what_is_put_while_its_reader_waits_is_written_directly_and_in_order() -> None:
    async def test() -> None:
        sideband = Sideband(1, own_events=False)
        written: list[list[bytes]] = []
        can_write = True

        def write(texts: list[bytes]) -> bool:
            if can_write:
                written.append(texts)
            return can_write

        async def put(*texts: bytes) -> None:
            for text in texts:
                sideband.put(text)
            await asyncio.sleep(0)

        sideband.write_by(write)
        await put(b"before", b"anybody waits")
        assert (written, await sideband.take()) == ([], [b"before", b"anybody waits"])
        taking = asyncio.ensure_future(sideband.take())
        await asyncio.sleep(0)
        await put(b"one", b"two")
        await put(b"three")
        assert (written, sideband.waiting_bytes) == ([[b"one", b"two"], [b"three"]], 0)
        can_write = False
        await put(b"four")
        can_write = True
        await put(b"five")
        assert await taking == [b"four", b"five"]
        await put(b"six")
        assert (written[2:], await sideband.take()) == ([], [b"six"])

    asyncio.run(test())


def test_what_is_written_directly_is_written_before_the_end() -> None:
    async def test() -> None:
        sideband = Sideband(1, own_events=False)
        written: list[bytes] = []
        sideband.write_by(lambda texts: not written.extend(texts))
        taking = asyncio.ensure_future(sideband.take())
        await asyncio.sleep(0)
        sideband.put(b"last words")
        sideband.close(ENOUGH)
        assert (await taking, written) == (ENOUGH, [b"last words"])

    asyncio.run(test())
