"""The network in memory does to packets what it was told to, and the same every time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from offhook.errors import LocalError
from offhook.testing.link import MAX_WAITING, MemoryNetwork, MemoryPoller, MemoryRange, Weather


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def arrived(seed: int, weather: Weather, count: int = 1000) -> list[tuple[float, bytes]]:
    """Send numbered packets 20 ms apart; return which came when."""
    clock = Clock()
    network = MemoryNetwork(clock, seed)
    network.weather["a"] = weather
    sender, receiver = network.port("a", 1), network.port("b", 2)
    got = []
    for step in range(count * 20 + 1000):
        clock.now = step / 1000
        if step % 20 == 0 and step < count * 20:
            sender.send(str(step // 20).encode(), ("b", 2))
        while True:
            try:
                data, address = receiver.receive()
            except BlockingIOError:
                break
            assert address == ("a", 1)
            got.append((clock.now, data))
    return got


def test_a_good_line_delivers_everything_at_once_and_in_order() -> None:
    assert arrived(1, Weather()) == [(number / 50, str(number).encode()) for number in range(1000)]


def test_shares_of_the_packets_are_lost_and_copied() -> None:
    numbers = [data for _, data in arrived(1, Weather(loss=0.1, copies=0.05))]
    assert 850 < len(set(numbers)) < 950
    assert 20 < len(numbers) - len(set(numbers)) < 80


def test_jitter_delays_and_reorders() -> None:
    got = arrived(1, Weather(delay_ms=40, jitter_ms=60))
    late_ms = [(at - int(data) / 50) * 1000 for at, data in got]
    assert min(late_ms) >= 40
    assert max(late_ms) <= 101
    assert [int(data) for _, data in got] != sorted(int(data) for _, data in got)


def test_a_seed_repeats_the_weather() -> None:
    bad = Weather(loss=0.1, copies=0.1, delay_ms=10, jitter_ms=50)
    assert arrived(5, bad) == arrived(5, bad)
    assert arrived(5, bad) != arrived(6, bad)


def test_a_port_that_nobody_reads_does_not_grow_for_ever() -> None:
    network = MemoryNetwork(Clock())
    port = network.port("b", 2)
    for _ in range(MAX_WAITING + 10):
        network.port("a", 1).send(b"x", ("b", 2))
    assert len(port.inbox) == MAX_WAITING


def test_a_poller_tells_only_of_what_has_arrived() -> None:
    clock = Clock()
    network = MemoryNetwork(clock)
    network.weather["a"] = Weather(delay_ms=10)
    port, poller = network.port("b", 2), MemoryPoller()
    poller.add(port, "token")
    network.port("a", 1).send(b"x", ("b", 2))
    assert poller.ready() == []
    clock.now = 0.010
    assert poller.ready() == ["token"]
    assert port.receive() == (b"x", ("a", 1))
    assert poller.ready() == []
    network.port("a", 1).send(b"x", ("b", 2))
    poller.remove(port)
    clock.now = 1.0
    assert poller.ready() == []


def test_ports_are_handed_out_once_until_they_are_closed() -> None:
    ports = MemoryRange(MemoryNetwork(Clock()), "a", 10, 15)
    assert ports.pairs == 3
    pairs = [ports.open(0.0) for _ in range(3)]
    assert sorted(pair.port for pair in pairs) == [10, 12, 14]
    with pytest.raises(LocalError, match="3 pairs are in use"):
        ports.open(0.0)
    pairs[1].close(0.0)
    assert (ports.room(0.0), ports.open(0.0).port) == (1, 12)


def test_closed_ports_neither_send_nor_receive() -> None:
    pair = MemoryNetwork(Clock()).pair("a", 10)
    pair.close(0.0)
    pair.close(1.0)
    with pytest.raises(OSError, match="closed"):
        pair.rtp.send(b"x", ("a", 11))
    with pytest.raises(OSError, match="closed"):
        pair.rtcp.receive()
