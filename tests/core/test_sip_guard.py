"""Strangers and scanners get silence."""

from __future__ import annotations

import pytest
from tests.sip_peer import Bench, Caller, establish, new_agent

from offhook.errors import ConfigError
from offhook.sip.flow import Flow
from offhook.sip.guard import Guard
from offhook.sip.limits import MAX_DROPS_TOLD_PER_MINUTE, MAX_SOURCES
from offhook.sip.options import GuardOptions
from offhook.sip.output import Invited, Rejected

V6 = Flow("UDP", ("2001:db8::10", 5060), ("2001:db8::1", 5060))


def bench(**options: object) -> Bench:
    return Bench(new_agent(guard=GuardOptions(**options)))  # type: ignore[arg-type]


def test_source_outside_the_allow_list_is_dropped_without_a_word() -> None:
    b = bench(allow=("198.51.100.0/24",))
    b.receive(Caller().invite())
    assert b.told(Invited) == []
    assert b.sent == []
    assert b.agent.counters.dropped_source == 1


def test_who_is_dropped_without_a_word_is_told_once_to_the_log() -> None:
    """Users' complaint: calls of a trunk were refused, with no detail in the logs."""
    b = bench(allow=("198.51.100.0/24",))
    for number in range(3):
        b.receive(Caller(call_id=f"c{number}").invite(branch=f"b{number}"))
    assert b.told(Rejected) == [Rejected(("192.0.2.10", 5060), 0, "", "its address is outside the allow-list")]
    crowd = bench(new_requests_per_s=0.001, burst=1)
    for number in range(3):
        crowd.receive(Caller(call_id=f"c{number}").request("OPTIONS", branch=f"b{number}"))
    assert crowd.told(Rejected) == [
        Rejected(("192.0.2.10", 5060), 0, "OPTIONS", "more new requests than its address may send")
    ]


def test_a_scan_from_forged_addresses_cannot_fill_the_log() -> None:
    b = bench(allow=("198.51.100.0/24",))
    for second in range(120):
        for number in range(10):
            b.receive(b"OPTIONS", Flow("UDP", (f"203.0.113.{second}", 1000 + number), ("192.0.2.1", 5060)))
        b.run(1)
    assert len(b.told(Rejected)) == 2 * MAX_DROPS_TOLD_PER_MINUTE


@pytest.mark.parametrize("network", ["192.0.2.0/24", "192.0.2.10", "192.0.2.10/24"])
def test_source_inside_the_allow_list_may_call(network: str) -> None:
    b = bench(allow=("198.51.100.0/24", network))
    b.receive(Caller().invite())
    assert len(b.told(Invited)) == 1


def test_ipv6_sources() -> None:
    b = bench(allow=("2001:db8::/32",))
    b.receive(Caller().invite(), V6)
    b.receive(Caller().invite(branch="v4"))
    assert len(b.told(Invited)) == 1
    assert b.agent.counters.dropped_source == 1


def test_mapped_ipv4_source_is_judged_as_ipv4() -> None:
    guard = Guard(GuardOptions(allow=("192.0.2.0/24",)))
    assert guard.lets_in("::ffff:192.0.2.7", 0.0)
    assert not guard.lets_in("::ffff:198.51.100.7", 0.0)


def test_allow_list_holds_for_responses_and_acks_too() -> None:
    b = bench(allow=("198.51.100.0/24",))
    b.receive(Caller(to_tag="x").ack())
    b.receive(b"SIP/2.0 200 OK\r\n\r\n")
    assert b.agent.counters.dropped_source == 2
    assert b.agent.counters.malformed == 0


def test_network_that_is_none_refuses_to_start() -> None:
    with pytest.raises(ConfigError) as refused:
        Guard(GuardOptions(allow=("example.com",)))
    assert "example.com" in str(refused.value)


def test_new_requests_above_the_rate_are_dropped_and_the_bucket_refills() -> None:
    b = bench(new_requests_per_s=2, burst=3)
    for number in range(5):
        b.receive(Caller(call_id=f"c{number}").request("OPTIONS", branch=f"b{number}"))
    assert b.statuses() == [200, 200, 200]
    assert b.agent.counters.dropped_rate == 2
    b.run(1)
    for number in range(5, 9):
        b.receive(Caller(call_id=f"c{number}").request("OPTIONS", branch=f"b{number}"))
    assert b.statuses() == [200] * 5


def test_rate_counts_neither_dialogs_nor_copies() -> None:
    b = bench(new_requests_per_s=0.001, burst=1)
    caller, _ = establish(b)
    for _ in range(5):
        b.receive(caller.next("OPTIONS"))
    last = caller.request("OPTIONS")
    b.receive(last)
    assert b.statuses() == [200] * 6
    assert b.agent.counters.dropped_rate == 0


@pytest.mark.parametrize(
    "options", [{"trusted": ("192.0.2.0/24",)}, {"allow": ("192.0.2.0/24",)}, {"new_requests_per_s": 0}]
)
def test_trusted_and_allowed_sources_are_not_counted(options: dict[str, object]) -> None:
    b = bench(**{"new_requests_per_s": 1, "burst": 1, **options})
    for number in range(20):
        b.receive(Caller(call_id=f"c{number}").request("OPTIONS", branch=f"b{number}"))
    assert b.statuses() == [200] * 20


def test_malformed_requests_are_counted_too() -> None:
    b = bench(new_requests_per_s=1, burst=2)
    for _ in range(5):
        b.receive(Caller().request("OPTIONS").replace(b"Max-Forwards: 70", b"Max-Forwards: 700"))
    assert b.statuses() == [400, 400]
    assert b.agent.counters.dropped_rate == 3
    assert b.agent.counters.malformed == 5


@pytest.mark.parametrize(
    "agent",
    [
        "friendly-scanner",
        "sipvicious",
        "SIPCLI/v1.8",
        "pplsip",
        "sundayddr",
        "iWar",
        "VaxSIPUserAgent/3.1",
        "sip-scan 2",
    ],
)
def test_known_scanners_get_silence(agent: str) -> None:
    b = bench()
    for method in ("INVITE", "OPTIONS", "REGISTER"):
        b.receive(Caller().request(method, extra=[f"User-Agent: {agent}"]))
    assert b.sent == []
    assert b.told(Rejected) == [Rejected(("192.0.2.10", 5060), 0, "INVITE", "it bears the mark of an attack tool")]
    assert b.agent.counters.dropped_scanner == 3


@pytest.mark.parametrize(
    "origin", ['"sipvicious"<sip:100@1.1.1.1>;tag=1', "<sip:nm@nm>;tag=root", "<sip:sipvicious@x>;tag=1"]
)
def test_scanners_are_known_by_their_from_too(origin: str) -> None:
    b = bench()
    b.receive(Caller().request("OPTIONS").replace(b"<sip:peer@192.0.2.10>;tag=peer", origin.encode()))
    assert b.sent == []
    assert b.agent.counters.dropped_scanner == 1


def test_ordinary_user_agents_pass() -> None:
    b = bench()
    b.receive(Caller().request("OPTIONS", extra=["User-Agent: Asterisk PBX 20.1"]))
    assert b.statuses() == [200]


def test_marks_of_scanners_are_data() -> None:
    b = bench(scanner_agents=("asterisk",), scanner_froms=())
    b.receive(Caller().request("OPTIONS", extra=["User-Agent: Asterisk PBX 20.1"]))
    b.receive(Caller().request("OPTIONS", branch="2", extra=["User-Agent: sipvicious"]))
    assert b.statuses() == [200]


def test_remembered_sources_are_bounded() -> None:
    guard = Guard(GuardOptions(new_requests_per_s=1, burst=1))
    for number in range(MAX_SOURCES + 100):
        assert guard.lets_request(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(guard._sources) == MAX_SOURCES
