"""Transfers: REFER followed to its outcome (RFC 3515, RFC 6665, RFC 4488, RFC 5057)."""

from __future__ import annotations

import pytest
from tests.sip_peer import Bench, Caller, call_established, establish, respond, ring

from offhook.errors import LocalError
from offhook.sip.errors import LegStateError
from offhook.sip.leg import Established, Leg
from offhook.sip.message import Request
from offhook.sip.output import (
    HungUp,
    LegLost,
    ReferAnswered,
    ReferEnded,
    ReferProgressed,
    ReferSent,
    Released,
)
from offhook.sip.refer import read_sipfrag

TARGET = "sip:human@192.0.2.200"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def refer(bench: Bench, leg: Leg, target: str = TARGET) -> Request:
    refer_id, outputs = bench.agent.refer(leg, target, bench.now)
    assert bench.take(outputs) == [ReferSent(leg, refer_id)]
    request = bench.requests("REFER")[-1]
    assert request.cseq == refer_id
    return request


def notify(
    caller: Caller, fragment: str, *, state: str = "active;expires=60", event: str = "refer", **more: object
) -> bytes:
    extra = [f"Event: {event}", f"Subscription-State: {state}"]
    return caller.next(
        "NOTIFY",
        body=fragment.encode() + b"\r\n" if fragment else b"",
        content_type="message/sipfrag;version=2.0",
        extra=extra,
        **more,
    )


def test_transfer_is_followed_to_success(bench: Bench) -> None:
    caller, leg = establish(bench)
    request = refer(bench, leg)
    assert request.get("refer-to") == f"<{TARGET}>"
    assert request.get("referred-by") == "<sip:agent@192.0.2.1>"
    assert request.get("contact") == "<sip:192.0.2.1:5060>"
    assert bench.receive(respond(request, 202)) == [ReferAnswered(leg, 1, 202, "Whatever")]
    assert bench.receive(notify(caller, "SIP/2.0 100 Trying")) == [ReferProgressed(leg, 1, 100, "Trying")]
    assert bench.receive(notify(caller, "SIP/2.0 180 Ringing")) == [ReferProgressed(leg, 1, 180, "Ringing")]
    told = bench.receive(notify(caller, "SIP/2.0 200 OK", state="terminated;reason=noresource"))
    assert told == [ReferEnded(leg, 1, 200, "OK")]
    assert bench.statuses() == [200, 200, 200]
    assert isinstance(leg.state, Established), "BYE after success is the host's decision"
    assert bench.run(400) == []


@pytest.mark.parametrize("target", ["tel:+15550100", "sip:a@b;x=1?Replaces=c%3Bto-tag%3D1", "sips:a@b"])
def test_refer_to_is_the_target_unchanged(bench: Bench, target: str) -> None:
    _, leg = establish(bench)
    assert refer(bench, leg, target).get("refer-to") == f"<{target}>"


@pytest.mark.parametrize("target", ["", "mailto:a@b", "sip:a@b\r\nX: y", "sip:a b", "sip:a@b>", "human", "http://x"])
def test_bad_targets_are_the_hosts_mistake(bench: Bench, target: str) -> None:
    _, leg = establish(bench)
    with pytest.raises(LocalError):
        bench.agent.refer(leg, target, bench.now)
    assert bench.sent == []


def test_leg_that_is_not_established_cannot_be_transferred(bench: Bench) -> None:
    _, leg = ring(bench)
    with pytest.raises(LegStateError):
        bench.agent.refer(leg, TARGET, bench.now)


def test_transfer_that_fails_tells_why_and_the_call_goes_on(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(respond(refer(bench, leg), 202))
    bench.receive(notify(caller, "SIP/2.0 100 Trying"))
    told = bench.receive(notify(caller, "SIP/2.0 486 Busy Here", state="terminated"))
    assert told == [ReferEnded(leg, 1, 486, "Busy Here")]
    assert isinstance(leg.state, Established)


@pytest.mark.parametrize("status", [403, 405, 481, 503, 603])
def test_refused_transfer_ends_with_the_refusal_and_the_call_goes_on(bench: Bench, status: int) -> None:
    _, leg = establish(bench)
    told = bench.receive(respond(refer(bench, leg), status))
    assert told == [ReferAnswered(leg, 1, status, "Whatever"), ReferEnded(leg, 1, status, "Whatever")]
    assert isinstance(leg.state, Established)


def test_unanswered_refer_ends_with_408_and_the_call_goes_on(bench: Bench) -> None:
    _, leg = establish(bench)
    refer(bench, leg)
    told = bench.run(33)
    assert told == [ReferAnswered(leg, 1, 408, "Request Timeout"), ReferEnded(leg, 1, 408, "Request Timeout")]
    assert isinstance(leg.state, Established)


def test_transfer_without_any_notify_ends_after_32_s(bench: Bench) -> None:
    _, leg = establish(bench)
    bench.receive(respond(refer(bench, leg), 202))
    assert bench.run(31) == []
    assert bench.run(2) == [ReferEnded(leg, 1, None, "no NOTIFY came")]


def test_transfer_that_falls_silent_ends_when_its_subscription_expires(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(respond(refer(bench, leg), 202))
    bench.receive(notify(caller, "SIP/2.0 100 Trying", state="active;expires=60"))
    assert bench.run(59) == []
    assert bench.run(2) == [ReferEnded(leg, 1, None, "no report of the outcome")]


def test_notify_may_overtake_the_202(bench: Bench) -> None:
    caller, leg = establish(bench)
    request = refer(bench, leg)
    assert bench.receive(notify(caller, "SIP/2.0 100 Trying")) == [ReferProgressed(leg, 1, 100, "Trying")]
    assert bench.receive(respond(request, 202)) == [ReferAnswered(leg, 1, 202, "Whatever")]
    assert bench.receive(notify(caller, "SIP/2.0 200 OK")) == [ReferEnded(leg, 1, 200, "OK")]


def test_last_notify_may_overtake_the_202(bench: Bench) -> None:
    caller, leg = establish(bench)
    request = refer(bench, leg)
    assert bench.receive(notify(caller, "SIP/2.0 200 OK", state="terminated")) == [ReferEnded(leg, 1, 200, "OK")]
    assert bench.receive(respond(request, 202)) == []


def test_lost_202_does_not_matter_once_a_notify_came(bench: Bench) -> None:
    caller, leg = establish(bench)
    refer(bench, leg)
    bench.receive(notify(caller, "SIP/2.0 100 Trying", state="active;expires=90"))
    assert bench.run(40) == []
    assert bench.receive(notify(caller, "SIP/2.0 200 OK")) == [ReferEnded(leg, 1, 200, "OK")]


def test_peer_without_subscription_says_refer_sub_false(bench: Bench) -> None:
    _, leg = establish(bench)
    told = bench.receive(respond(refer(bench, leg), 200, extra=["Refer-Sub: false"]))
    assert told[0] == ReferAnswered(leg, 1, 200, "Whatever")
    [ended] = told[1:]
    assert isinstance(ended, ReferEnded)
    assert ended.status is None
    assert "Refer-Sub" in ended.reason


@pytest.mark.parametrize("fragment", ["", "garbage", "SIP/2.0 100 Trying", "SIP/2.0 9999 x"])
def test_terminated_subscription_without_a_final_status_ends_it(bench: Bench, fragment: str) -> None:
    caller, leg = establish(bench)
    bench.receive(respond(refer(bench, leg), 202))
    [ended] = bench.receive(notify(caller, fragment, state="terminated;reason=giveup"))
    assert isinstance(ended, ReferEnded)
    assert ended.status is None
    assert "giveup" in ended.reason


def test_notify_of_no_transfer_gets_481_and_of_another_event_489(bench: Bench) -> None:
    caller, leg = establish(bench)
    refer(bench, leg)
    bench.receive(notify(caller, "SIP/2.0 200 OK", event="refer;id=77"))
    bench.receive(notify(caller, "", event="dialog"))
    bench.receive(caller.next("NOTIFY"))
    assert bench.statuses() == [481, 489, 481]
    bench.receive(notify(caller, "SIP/2.0 200 OK", state="terminated"))
    bench.receive(notify(caller, "SIP/2.0 200 OK", state="terminated"))
    assert bench.statuses() == [481, 489, 481, 200, 481]


def test_second_transfer_is_told_apart_by_its_id(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(respond(refer(bench, leg), 202))
    bench.receive(respond(refer(bench, leg, "tel:+15550100"), 202))
    assert bench.receive(notify(caller, "SIP/2.0 200 OK", event="refer;id=2")) == [ReferEnded(leg, 2, 200, "OK")]
    assert bench.receive(notify(caller, "SIP/2.0 603 No", event="refer;id=1")) == [ReferEnded(leg, 1, 603, "No")]


def test_transfers_on_one_leg_are_bounded(bench: Bench) -> None:
    _, leg = establish(bench)
    for _ in range(4):
        refer(bench, leg)
    with pytest.raises(LegStateError):
        bench.agent.refer(leg, TARGET, bench.now)


def test_outcome_is_still_told_after_the_carrier_hung_up(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(respond(refer(bench, leg), 202))
    bench.receive(notify(caller, "SIP/2.0 100 Trying"))
    assert bench.receive(caller.next("BYE")) == [HungUp(leg, None)]
    assert leg in bench.agent.legs
    bench.receive(caller.next("INFO"))
    assert bench.statuses()[-1] == 481
    assert bench.receive(notify(caller, "SIP/2.0 200 OK", state="terminated")) == [ReferEnded(leg, 1, 200, "OK")]
    assert leg not in bench.agent.legs
    bench.run(40)
    assert bench.agent.is_idle


def test_outcome_is_waited_for_no_longer_than_32_s_after_the_call(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(respond(refer(bench, leg), 202))
    bench.receive(notify(caller, "SIP/2.0 100 Trying", state="active;expires=3000"))
    bench.receive(caller.next("BYE"))
    told = bench.run(33)
    assert told == [ReferEnded(leg, 1, None, "no report of the outcome")]
    bench.run(10)
    assert bench.agent.is_idle


def test_host_may_hang_up_while_a_transfer_runs(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.receive(respond(refer(bench, leg), 202))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.receive(respond(bench.requests("BYE")[0], 200)) == [Released(leg, 200)]
    bench.run(70)
    assert bench.told(LegLost) == []
    assert len(bench.told(ReferEnded)) == 1
    assert bench.agent.is_idle


def test_refer_passes_the_route_set_and_not_ourselves(bench: Bench) -> None:
    """livekit/sip#771: behind several proxies the REFER's Route pointed at its own sender."""
    hops = ["Record-Route: <sip:192.0.2.21;lr>", "Record-Route: <sip:192.0.2.22;lr>"]
    _, leg = establish(bench, extra=hops)
    request = refer(bench, leg)
    assert request.all("route") == ["<sip:192.0.2.21;lr>", "<sip:192.0.2.22;lr>"]
    assert request.uri == "sip:peer@192.0.2.10:5060"
    assert bench.flows[-1].remote == ("192.0.2.21", 5060)


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (b"SIP/2.0 200 OK\r\n", (200, "OK")),
        (b"SIP/2.0 200", (200, "")),
        (b"\r\nSIP/2.0 183 Session Progress\r\nTo: x", (183, "Session Progress")),
        (b"sip/2.0 603 Decline", (603, "Decline")),
        (b"SIP/2.0 700 x", None),
        (b"SIP/2.0 099 x", None),
        (b"INVITE sip:a SIP/2.0", None),
        (b"", None),
        (b"SIP/2.0 200 \xff\xfe", (200, "\ufffd\ufffd")),
    ],
)
def test_sipfrag(body: bytes, report: tuple[int, str] | None) -> None:
    assert read_sipfrag(body) == report
