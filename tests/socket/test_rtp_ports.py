"""Port pairs on real loopback sockets; time is an argument."""

from __future__ import annotations

import os
import resource
import socket

import pytest

from offhook.errors import ConfigError, LocalError
from offhook.net.rtp import QUARANTINE_S, PortRange, PortsExhaustedError, SocketPoller, UdpPort, raise_descriptor_limit

FIRST = 47310


def ports(pairs: int) -> PortRange:
    return PortRange("127.0.0.1", FIRST, FIRST + 2 * pairs - 1)


def test_a_call_gets_an_even_port_and_the_odd_one_above() -> None:
    pair = ports(3).open(0.0)
    assert pair.port % 2 == 0
    assert pair.rtcp.address == ("127.0.0.1", pair.port + 1)
    pair.close(0.0)


def test_an_odd_beginning_is_stepped_over() -> None:
    assert PortRange("127.0.0.1", FIRST + 1, FIRST + 4).pairs == 1


def test_a_port_rests_for_five_seconds_after_a_call() -> None:
    range_ = ports(1)
    range_.open(100.0).close(110.0)
    with pytest.raises(PortsExhaustedError, match=r"0 of 1 pairs are in use, 1 rest"):
        range_.open(110.0 + QUARANTINE_S - 0.01)
    range_.open(110.0 + QUARANTINE_S).close(0.0)


def test_the_port_that_rested_longest_is_taken_first() -> None:
    range_ = ports(3)
    first = range_.open(0.0)
    first.close(0.0)
    taken = [range_.open(50.0) for _ in range(3)]
    assert [pair.port for pair in taken] == [first.port + 2, first.port + 4, first.port]
    for pair in taken:
        pair.close(50.0)


def test_closing_twice_gives_back_once() -> None:
    range_ = ports(1)
    pair = range_.open(0.0)
    pair.close(0.0)
    pair.close(0.0)
    assert range_.in_use == 0
    range_.open(9.0).close(9.0)
    with pytest.raises(PortsExhaustedError):
        range_.open(9.0)


@pytest.mark.parametrize("taken", [0, 1])
def test_a_port_of_another_program_is_stepped_over(taken: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", FIRST + taken))
        range_ = ports(2)
        pair = range_.open(0.0)
        assert pair.port == FIRST + 2
        assert range_.stepped_over == 1
        with pytest.raises(PortsExhaustedError, match="1 belong to other programs"):
            range_.open(0.0)
        pair.close(0.0)


def test_a_range_that_is_none_names_the_setting() -> None:
    for first, last in ((20000, 10000), (80, 90), (50001, 50002), (65535, 65535)):
        with pytest.raises(ConfigError, match="rtp_ports"):
            PortRange("127.0.0.1", first, last)


def test_an_address_that_is_not_ours_is_said_so() -> None:
    with pytest.raises(LocalError, match=r"192\.0\.2\.1"):
        PortRange("192.0.2.1", FIRST, FIRST + 1).open(0.0)


def test_voice_is_marked_as_such_for_routers() -> None:
    pair = ports(1).open(0.0)
    with socket.socket(fileno=os.dup(pair.rtp.fileno())) as same:
        assert same.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2
    pair.close(0.0)


def test_ipv6_works_where_there_is_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    pair = PortRange("::1", FIRST, FIRST + 1).open(0.0)
    pair.rtcp.send(b"hello", pair.rtp.address)
    assert pair.rtp.receive()[0] == b"hello"
    pair.close(0.0)


def test_the_poller_tells_which_ports_have_something() -> None:
    poller: SocketPoller[str] = SocketPoller()
    one, two = UdpPort("127.0.0.1", 0), UdpPort("127.0.0.1", 0)
    poller.add(one, "one")
    poller.add(two, "two")
    assert poller.ready() == []
    one.send(b"to two", two.address)
    assert poller.ready(1.0) == ["two"]
    assert two.receive() == (b"to two", one.address)
    with pytest.raises(BlockingIOError):
        two.receive()
    two.send(b"to one", one.address)
    poller.remove(one)
    poller.remove(one)
    assert poller.ready() == []
    one.close()
    two.close()
    poller.close()


def test_the_descriptor_limit_is_raised_to_what_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        if hard > 512:
            resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        assert raise_descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
