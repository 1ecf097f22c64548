"""The called side of the agent: INVITE to BYE as a peer sees it (RFC 3261 8.2, 9.2, 12.1.1, 13.3, 15.1.2, 17.2)."""

from __future__ import annotations

import pytest
from tests.sip_peer import OUR_SDP, PEER, SDP, TCP, UDP, Bench, Caller, establish, new_agent, respond, ring

from offhook.errors import LocalError
from offhook.sip.errors import LegStateError
from offhook.sip.flow import Flow
from offhook.sip.leg import Ended
from offhook.sip.message import Response
from offhook.sip.options import GuardOptions
from offhook.sip.output import (
    Cancelled,
    Confirmed,
    HungUp,
    InfoReceived,
    Invited,
    LegLost,
    Rejected,
    Released,
    Transmit,
)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- the ordinary call ---------------------------------------------------------------------------------------------


def test_call_with_offer_is_answered_confirmed_and_hung_up(bench: Bench) -> None:
    caller, leg = ring(bench)
    [invited] = bench.told(Invited)
    assert isinstance(invited, Invited)
    assert invited.offer == SDP
    assert leg.invite is invited.request
    bench.take(bench.agent.ring(leg, bench.now))
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.statuses() == [180, 200]
    ringing, answer = bench.responses()
    assert ringing.to_tag == answer.to_tag == leg.id
    assert answer.body == OUR_SDP
    assert leg.invite is None, "the INVITE is dropped to save memory"
    assert bench.receive(caller.ack()) == [Confirmed(leg, None)]
    assert bench.receive(caller.next("BYE")) == [HungUp(leg, None)]
    assert bench.statuses() == [180, 200, 200]
    assert isinstance(leg.state, Ended)
    bench.run(40)
    assert bench.agent.is_idle


def test_an_ack_that_repeats_the_offer_is_no_answer(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.ack(body=SDP)) == [Confirmed(leg, None)]


def test_offerless_invite_gets_our_offer_and_the_answer_comes_with_the_ack(bench: Bench) -> None:
    caller, leg = ring(bench, body=b"")
    [invited] = bench.told(Invited)
    assert isinstance(invited, Invited)
    assert invited.offer is None
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.ack(body=SDP)) == [Confirmed(leg, SDP)]


def test_response_with_body_has_a_content_type_so_that_asterisk_does_not_hang_up(bench: Bench) -> None:
    """Users' complaint: a 200 OK without Content-Type."""
    _, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.last.get("content-type") == "application/sdp"
    assert bench.last.get("content-length") == str(len(OUR_SDP))


def test_200_has_contact_allow_supported_and_record_route_in_order(bench: Bench) -> None:
    hops = ["Record-Route: <sip:p3.example;lr>", "Record-Route: <sip:p2.example;lr>, <sip:p1.example;lr>"]
    _, leg = ring(bench, extra=hops)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    answer = bench.last
    assert answer.all("record-route") == ["<sip:p3.example;lr>", "<sip:p2.example;lr>, <sip:p1.example;lr>"]
    assert answer.get("contact") == "<sip:192.0.2.1:5060>"
    assert "UPDATE" in (answer.get("allow") or "")
    assert answer.get("supported") is not None


def test_100_only_when_nothing_else_was_sent_within_200_ms(bench: Bench) -> None:
    ring(bench)
    bench.run(0.19)
    assert bench.statuses() == []
    bench.run(0.02)
    assert bench.statuses() == [100]
    bench.run(30)
    assert bench.statuses() == [100]


def test_no_100_after_180(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.ring(leg, bench.now))
    bench.run(30)
    assert bench.statuses() == [180]


def test_trying_can_be_sent_at_once_by_option() -> None:
    bench = Bench(new_agent(trying_after_s=0.0))
    ring(bench)
    bench.run(0)
    assert bench.statuses() == [100]


def test_180_is_repeated_every_minute_against_impatient_proxies(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.ring(leg, bench.now))
    bench.run(130)
    assert bench.statuses() == [180, 180, 180]


def test_100_is_not_sent_when_the_caller_knows_more(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.ring(leg, bench.now, 100))
    bench.take(bench.agent.ring(leg, bench.now))
    assert bench.agent.ring(leg, bench.now, 100) == []
    assert bench.statuses() == [100, 180]


def test_100_carries_the_timestamp_of_the_request(bench: Bench) -> None:
    ring(bench, extra=["Timestamp: 54.3"])
    bench.run(1)
    assert bench.last.get("timestamp") == "54.3"


# -- repetition ----------------------------------------------------------------------------------------------------


def test_late_copies_of_the_invite_are_absorbed(bench: Bench) -> None:
    caller, leg = ring(bench)
    assert bench.receive(caller.invite()) == []
    assert bench.statuses() == []
    bench.take(bench.agent.ring(leg, bench.now))
    bench.receive(caller.invite())
    assert bench.statuses() == [180, 180], "the last provisional response again"
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.receive(caller.invite())
    assert bench.statuses() == [180, 180, 200], "the 200 is repeated by its own clock only (RFC 6026)"
    bench.receive(caller.ack())
    bench.run(20)
    bench.receive(caller.invite())
    assert bench.statuses() == [180, 180, 200]
    assert len(bench.told(Invited)) == 1
    assert bench.agent.counters.retransmissions_absorbed == 4


def test_200_is_repeated_from_t1_to_t2_until_the_ack(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    times = []
    for _ in range(6):
        deadline = bench.agent.next_deadline()
        assert deadline is not None
        bench.run(deadline - bench.now)
        times.append(round(bench.now, 3))
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    bench.receive(caller.ack())
    sent = len(bench.responses(200))
    bench.run(60)
    assert len(bench.responses(200)) == sent
    assert len(bench.told(Confirmed)) == 1


def test_200_is_repeated_over_tcp_too(bench: Bench) -> None:
    bench.flow = TCP
    _, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.run(4)
    assert len(bench.responses(200)) == 4


def test_ack_lost_after_200_ends_call_in_32_s_with_bye(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.run(31.9) == []
    [lost] = bench.run(0.2)
    assert isinstance(lost, LegLost)
    assert "ACK" in lost.cause
    [bye] = bench.requests("BYE")
    assert bye.uri == "sip:peer@192.0.2.10:5060"
    assert (bye.from_tag, bye.to_tag) == (leg.id, caller.from_tag)
    bench.run(64)
    assert bench.agent.is_idle
    assert len(bench.told(Released)) == 0, "one ending for every leg"


def test_repeated_ack_is_told_once(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.ack()) == [Confirmed(leg, None)]
    assert bench.receive(caller.ack()) == []


def test_refusal_is_repeated_until_its_ack_on_udp(bench: Bench) -> None:
    caller, leg = ring(bench)
    assert bench.take(bench.agent.reject(leg, 486, bench.now)) == [Released(leg, 486)]
    bench.run(4)
    assert bench.statuses() == [486] * 4
    bench.receive(caller.ack(branch="INVITE-1"))
    bench.run(10)
    assert bench.statuses() == [486] * 4
    assert bench.agent.is_idle


def test_refusal_is_repeated_when_the_invite_comes_again(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.reject(leg, 486, bench.now))
    bench.receive(caller.invite())
    assert bench.statuses() == [486, 486]


def test_refusal_over_tcp_is_sent_once_and_forgotten_with_its_ack(bench: Bench) -> None:
    bench.flow = TCP
    caller, leg = ring(bench)
    bench.take(bench.agent.reject(leg, 603, bench.now))
    bench.run(5)
    assert bench.statuses() == [603]
    bench.receive(caller.ack(branch="INVITE-1"))
    assert bench.agent.is_idle


def test_refusal_without_ack_is_forgotten_after_32_s(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.reject(leg, 486, bench.now))
    bench.run(32)
    assert bench.agent.is_idle


def test_answer_to_bye_is_repeated_for_32_s(bench: Bench) -> None:
    caller, _ = establish(bench)
    bye = caller.next("BYE")
    bench.receive(bye)
    bench.run(31)
    bench.receive(bye)
    assert bench.statuses() == [200, 200]
    assert len(bench.told(HungUp)) == 1
    bench.run(1)
    bench.receive(bye)
    assert bench.statuses() == [200, 200, 481], "32 s later nobody knows it"


def test_merged_request_on_a_second_way_gets_482(bench: Bench) -> None:
    caller, _ = ring(bench)
    bench.receive(caller.request("INVITE", branch="other-way", body=SDP, to_tag=""))
    assert bench.statuses() == [482]
    assert len(bench.told(Invited)) == 1


# -- refusing and cancelling ---------------------------------------------------------------------------------------


def test_reject_carries_reason_retry_after_and_headers(bench: Bench) -> None:
    _, leg = ring(bench)
    outputs = bench.agent.reject(
        leg, 503, bench.now, reason="Too busy\r\nX: y", retry_after_s=7, headers=[("Warning", "399 a b\r\nEvil: 1")]
    )
    bench.take(outputs)
    refusal = bench.last
    assert isinstance(refusal, Response)
    assert refusal.reason == "Too busy  X: y"
    assert refusal.get("retry-after") == "7"
    assert refusal.get("warning") == "399 a b  Evil: 1"
    assert refusal.get("evil") is None


def test_redirect_carries_the_contact_of_the_host(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.reject(leg, 302, bench.now, headers=[("Contact", "<sip:other@192.0.2.77>")]))
    assert bench.statuses() == [302]
    assert bench.last.get("contact") == "<sip:other@192.0.2.77>"


@pytest.mark.parametrize("status", [200, 299, 700, 0])
def test_reject_takes_300_to_699(bench: Bench, status: int) -> None:
    _, leg = ring(bench)
    with pytest.raises(LocalError):
        bench.agent.reject(leg, status, bench.now)


def test_header_names_of_the_host_cannot_smuggle_lines(bench: Bench) -> None:
    _, leg = ring(bench)
    with pytest.raises(LocalError):
        bench.agent.reject(leg, 486, bench.now, headers=[("X\r\nY", "z")])


def test_cancel_gets_200_and_the_invite_487_with_one_to_tag(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.ring(leg, bench.now))
    told = bench.receive(caller.request("CANCEL", branch="INVITE-1", extra=["Reason: SIP;cause=200"], to_tag=""))
    assert told == [Cancelled(leg, "SIP;cause=200")]
    assert bench.statuses() == [180, 200, 487]
    assert {response.to_tag for response in bench.responses()} == {leg.id}
    bench.receive(caller.ack(branch="INVITE-1"))
    bench.run(40)
    assert bench.agent.is_idle


def test_cancel_after_the_answer_changes_nothing(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.request("CANCEL", branch="INVITE-1", to_tag="")) == []
    assert bench.statuses() == [200, 200]
    assert bench.last.to_tag == leg.id, "the tag of the INVITE's responses"
    assert bench.receive(caller.ack()) == [Confirmed(leg, None)]


def test_cancel_of_nothing_gets_481(bench: Bench) -> None:
    bench.receive(Caller().request("CANCEL", branch="INVITE-1"))
    assert bench.statuses() == [481]


def test_repeated_cancel_is_answered_again_and_told_once(bench: Bench) -> None:
    caller, _ = ring(bench)
    cancel = caller.request("CANCEL", branch="INVITE-1", to_tag="")
    bench.receive(cancel)
    bench.receive(cancel)
    assert bench.statuses() == [200, 487, 200]
    assert len(bench.told(Cancelled)) == 1


def test_cancel_of_a_known_call_passes_the_guard_and_a_full_table() -> None:
    bench = Bench(new_agent(max_transactions=1, guard=GuardOptions(new_requests_per_s=0.001, burst=1)))
    caller, leg = ring(bench)
    assert bench.receive(caller.request("CANCEL", branch="INVITE-1", to_tag="")) == [Cancelled(leg, None)]
    assert bench.statuses() == [200, 487]


def test_invite_that_expires_is_ended_with_487(bench: Bench) -> None:
    _, leg = ring(bench, extra=["Expires: 10"])
    assert bench.run(9.9) == []
    assert bench.run(0.2) == [Cancelled(leg, "the INVITE expired")]
    assert bench.statuses() == [100, 487]


def test_answered_invite_does_not_expire(bench: Bench) -> None:
    _, leg = establish(bench, extra=["Expires: 10"])
    assert bench.run(20) == []
    assert leg in bench.agent.legs


def test_answer_after_the_caller_cancelled_is_ignored(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.receive(caller.request("CANCEL", branch="INVITE-1", to_tag=""))
    sent = len(bench.sent)
    for late in (
        bench.agent.answer(leg, OUR_SDP, bench.now),
        bench.agent.ring(leg, bench.now),
        bench.agent.reject(leg, 486, bench.now),
        bench.agent.hang_up(leg, bench.now),
        bench.agent.reinvite(leg, OUR_SDP, bench.now),
        bench.agent.answer_offer(leg, OUR_SDP, bench.now),
    ):
        assert late == []
    assert len(bench.sent) == sent


def test_answering_twice_is_the_hosts_mistake(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    with pytest.raises(LegStateError):
        bench.agent.answer(leg, OUR_SDP, bench.now)


def test_hang_up_while_ringing_declines(bench: Bench) -> None:
    _, leg = ring(bench)
    assert bench.take(bench.agent.hang_up(leg, bench.now, reason="Q.850;cause=21")) == [Released(leg, 603)]
    assert bench.statuses() == [603]
    assert bench.last.get("reason") == "Q.850;cause=21"


# -- BYE -----------------------------------------------------------------------------------------------------------


def test_bye_before_the_ack_ends_the_repetition_of_the_200(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.next("BYE")) == [HungUp(leg, None)]
    bench.run(40)
    assert bench.statuses() == [200, 200]
    assert bench.agent.is_idle


def test_bye_of_an_early_dialog_counts_as_cancel(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.ring(leg, bench.now))
    assert bench.receive(caller.next("BYE")) == [Cancelled(leg, None)]
    assert bench.statuses() == [180, 200, 487]


def test_bye_carries_its_reason(bench: Bench) -> None:
    caller, leg = establish(bench)
    assert bench.receive(caller.next("BYE", extra=["Reason: Q.850;cause=16"])) == [HungUp(leg, "Q.850;cause=16")]


def test_hang_up_sends_bye_and_is_done_when_it_is_answered(bench: Bench) -> None:
    caller, leg = establish(bench)
    assert bench.take(bench.agent.hang_up(leg, bench.now, reason='SIP;cause=200;text="done"')) == []
    [bye] = bench.requests("BYE")
    assert bye.get("reason") == 'SIP;cause=200;text="done"'
    assert bench.receive(respond(bye, 200)) == [Released(leg, 200)]
    assert caller.from_tag == bye.to_tag
    bench.run(40)
    assert bench.agent.is_idle


def test_unanswered_bye_is_repeated_and_given_up(bench: Bench) -> None:
    _, leg = establish(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    told = bench.run(33)
    assert told == [Released(leg, None)]
    assert len(bench.requests("BYE")) == 11, "timer E: 0.5, 1, 2, then every 4 s (RFC 3261 17.1.2.2)"
    assert bench.agent.is_idle


def test_hang_up_before_the_ack_waits_for_it(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.requests("BYE") == [], "RFC 3261 15: no BYE before the ACK"
    assert bench.receive(caller.ack()) == []
    assert len(bench.requests("BYE")) == 1


def test_hang_up_without_ack_sends_bye_after_32_s(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.take(bench.agent.hang_up(leg, bench.now))
    bench.run(32.5)
    assert len(bench.requests("BYE")) > 0
    bench.run(33)
    assert bench.told(Released) == [Released(leg, None)]
    assert bench.told(LegLost) == []
    assert bench.agent.is_idle


def test_crossing_byes_are_both_answered(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.receive(caller.next("BYE")) == []
    assert bench.statuses() == [200]


# -- dialog rules --------------------------------------------------------------------------------------------------


def test_request_of_no_known_dialog_gets_481(bench: Bench) -> None:
    establish(bench)
    for method in ("BYE", "INVITE", "UPDATE", "INFO", "OPTIONS", "NOTIFY"):
        bench.clear()
        bench.receive(Caller(call_id="other", to_tag="nobody").request(method, branch=method))
        assert bench.statuses() == [481], method


def test_request_with_our_tag_but_another_from_tag_gets_481(bench: Bench) -> None:
    caller, leg = establish(bench)
    caller.from_tag = "stranger"
    bench.receive(caller.next("BYE"))
    assert bench.statuses() == [481]
    assert leg in bench.agent.legs


def test_lower_cseq_gets_500(bench: Bench) -> None:
    caller, leg = establish(bench, Caller(cseq=10))
    bench.receive(caller.request("INFO", cseq=9))
    assert bench.statuses() == [500]
    assert leg in bench.agent.legs


def test_ack_with_another_cseq_does_not_confirm(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.ack(cseq=5)) == []
    bench.run(1)
    assert len(bench.responses(200)) > 1


def test_ack_to_nothing_is_never_answered(bench: Bench) -> None:
    assert bench.receive(Caller(to_tag="nobody").ack()) == []
    assert bench.sent == []
    assert bench.agent.counters.stray_acks == 1


def test_route_set_of_the_callee_is_in_the_order_of_record_route(bench: Bench) -> None:
    _, leg = establish(
        bench,
        extra=["Record-Route: <sip:192.0.2.33;lr>", 'Record-Route: "P2" <sip:p2.example;lr>;x=1, <sip:p1.example;lr>'],
    )
    bench.take(bench.agent.hang_up(leg, bench.now))
    [bye] = bench.requests("BYE")
    assert bye.all("route") == ["<sip:192.0.2.33;lr>", "<sip:p2.example;lr>", "<sip:p1.example;lr>"]
    assert bye.uri == "sip:peer@192.0.2.10:5060"
    assert bench.flows[-1].remote == ("192.0.2.33", 5060)


def test_strict_router_becomes_the_request_uri(bench: Bench) -> None:
    _, leg = establish(bench, extra=["Record-Route: <sip:192.0.2.33;method=INVITE>, <sip:p1.example;lr>"])
    bench.take(bench.agent.hang_up(leg, bench.now))
    [bye] = bench.requests("BYE")
    assert bye.uri == "sip:192.0.2.33"
    assert bye.all("route") == ["<sip:p1.example;lr>", "<sip:peer@192.0.2.10:5060>"]


def test_route_set_does_not_change_with_a_later_record_route(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("INVITE", body=SDP, extra=["Record-Route: <sip:192.0.2.99;lr>"]))
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    bench.receive(caller.ack())
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.requests("BYE")[0].all("route") == []


def test_doubled_transport_parameter_in_contact_is_tolerated(bench: Bench) -> None:
    caller = Caller(contact="<sip:peer@192.0.2.10:5061;transport=tls;transport=tls>")
    _, leg = establish(bench, caller)
    assert leg.remote_target == "sip:peer@192.0.2.10:5061;transport=tls;transport=tls"
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.requests("BYE")[0].uri == leg.remote_target
    assert bench.flows[-1] == UDP, "a transport we do not speak leaves the flow of the call"


@pytest.mark.parametrize(
    "contact", ["", "garbage", "<>", '"x <sip:a@b>', "<mailto:a@b>", "<sip:>", "<sip:a\tb@c>", "<sip:a b@c>"]
)
def test_unreadable_contact_does_not_kill_the_call(bench: Bench, contact: str) -> None:
    _, leg = establish(bench, Caller(contact=contact))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.flows[-1] == UDP
    [bye] = bench.requests("BYE")
    assert bye.uri == "sip:192.0.2.10:5060"


@pytest.mark.parametrize(
    ("contact", "target"),
    [
        ("<sip:peer@192.0.2.10?Subject=x>", "sip:peer@192.0.2.10"),
        ("<sip:192.0.2.10;lr?Route=%3Csip:x%3E>", "sip:192.0.2.10;lr"),
        ("<sip:a?b@192.0.2.10>", "sip:a?b@192.0.2.10"),
        ('"A, B" <sip:peer@192.0.2.10>;expires=60, <sip:second@192.0.2.11>', "sip:peer@192.0.2.10"),
    ],
)
def test_target_is_the_uri_of_the_first_contact_without_headers(bench: Bench, contact: str, target: str) -> None:
    _, leg = establish(bench, Caller(contact=contact))
    assert leg.remote_target == target


def test_caller_without_tag_of_rfc_2543_is_served(bench: Bench) -> None:
    caller, leg = establish(bench, Caller(from_tag=""))
    assert bench.receive(caller.next("BYE")) == [HungUp(leg, None)]
    assert bench.statuses() == [200]


def test_hidden_caller_behind_nat_is_reached_at_its_source(bench: Bench) -> None:
    caller = Caller(via="SIP/2.0/UDP 192.168.1.5:5060;rport", contact="<sip:peer@192.168.1.5:5060>")
    bench.flow = Flow("UDP", ("192.0.2.10", 61234), ("192.0.2.1", 5060))
    _, leg = establish(bench, caller)
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.flows[-1].remote == ("192.0.2.10", 61234)


def test_private_contact_of_a_public_peer_is_not_believed(bench: Bench) -> None:
    bench.flow = Flow("UDP", ("8.8.8.8", 5060), ("8.8.4.4", 5060))
    _, leg = establish(bench, Caller(via="SIP/2.0/UDP 8.8.8.8:5060", contact="<sip:peer@10.0.0.5:5060>"))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.flows[-1].remote == ("8.8.8.8", 5060)


def test_contact_is_ignored_in_favour_of_the_flow_when_asked() -> None:
    bench = Bench(new_agent(route_by="flow"))
    _, leg = establish(bench, Caller(contact="<sip:peer@192.0.2.99:5090>"))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.requests("BYE")[0].uri == "sip:peer@192.0.2.99:5090"
    assert bench.flows[-1].remote == PEER


# -- where responses go --------------------------------------------------------------------------------------------


def test_response_goes_to_the_source_port_with_rport(bench: Bench) -> None:
    bench.flow = Flow("UDP", ("192.0.2.10", 61234), ("192.0.2.1", 5060))
    _, leg = ring(bench, Caller(via="SIP/2.0/UDP 10.1.1.1:5060;rport"))
    bench.take(bench.agent.ring(leg, bench.now))
    assert bench.flows[-1].remote == ("192.0.2.10", 61234)
    via = bench.last.get("via") or ""
    assert ";rport=61234" in via
    assert via.endswith(";received=192.0.2.10")


def test_response_goes_to_the_port_of_the_via_without_rport(bench: Bench) -> None:
    bench.flow = Flow("UDP", ("192.0.2.10", 61234), ("192.0.2.1", 5060))
    _, leg = ring(bench, Caller(via="SIP/2.0/UDP peer.example:5070"))
    bench.take(bench.agent.ring(leg, bench.now))
    assert bench.flows[-1].remote == ("192.0.2.10", 5070)
    assert ";received=192.0.2.10" in (bench.last.get("via") or "")


def test_maddr_cannot_aim_our_responses_at_a_third_party(bench: Bench) -> None:
    _, leg = ring(bench, Caller(via="SIP/2.0/UDP 192.0.2.10:5060;maddr=198.51.100.1"))
    bench.take(bench.agent.ring(leg, bench.now))
    assert bench.flows[-1].remote == PEER


def test_received_that_came_in_is_replaced(bench: Bench) -> None:
    _, leg = ring(bench, Caller(via="SIP/2.0/UDP 10.1.1.1;received=198.51.100.1;rport"))
    bench.take(bench.agent.ring(leg, bench.now))
    via = bench.last.get("via") or ""
    assert "198.51.100.1" not in via
    assert ";received=192.0.2.10" in via


def test_all_vias_come_back_in_order(bench: Bench) -> None:
    hops = ["Via: SIP/2.0/UDP two.example;branch=z9hG4bK2", "Via: SIP/2.0/TCP three.example;branch=z9hG4bK3"]
    _, leg = ring(bench, extra=hops)
    bench.take(bench.agent.ring(leg, bench.now))
    assert [value.partition(";")[0] for value in bench.last.all("via")] == [
        "SIP/2.0/UDP 192.0.2.10:5060",
        "SIP/2.0/UDP two.example",
        "SIP/2.0/TCP three.example",
    ]


def test_response_over_a_closed_connection_goes_to_the_via(bench: Bench) -> None:
    bench.flow = TCP
    _, leg = ring(bench, Caller(via="SIP/2.0/TCP 192.0.2.10:5080"))
    bench.take(bench.agent.connection_closed(TCP, bench.now))
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.flows[-1] == Flow("TCP", ("192.0.2.10", 5080), TCP.local, 0)


def test_ipv6_peer_is_answered_with_brackets_where_they_belong(bench: Bench) -> None:
    bench.flow = Flow("UDP", ("2001:db8::10", 5060), ("2001:db8::1", 5060))
    caller = Caller(via="SIP/2.0/UDP [2001:db8::10]:5060;rport", contact="<sip:peer@[2001:db8::10]:5060>")
    _, leg = establish(bench, caller)
    bench.take(bench.agent.hang_up(leg, bench.now))
    [bye] = bench.requests("BYE")
    assert bye.uri == "sip:peer@[2001:db8::10]:5060"
    assert (bye.get("via") or "").startswith("SIP/2.0/UDP [2001:db8::1]:5060;rport")
    assert bench.flows[-1].remote == ("2001:db8::10", 5060)


# -- requests that are refused -------------------------------------------------------------------------------------


def test_100rel_required_is_refused_with_420(bench: Bench) -> None:
    bench.receive(Caller().invite(extra=["Require: 100rel, norefersub"]))
    assert bench.statuses() == [420]
    assert bench.last.get("unsupported") == "100rel"
    [rejected] = bench.told(Rejected)
    assert isinstance(rejected, Rejected)
    assert "100rel" in rejected.why


def test_unknown_body_gets_415_with_accept(bench: Bench) -> None:
    bench.receive(Caller().invite(body=b"<xml/>", content_type="application/xml"))
    assert bench.statuses() == [415]
    assert bench.last.get("accept") == "application/sdp"
    assert bench.last.to_tag


def test_compressed_body_gets_415_with_accept_encoding(bench: Bench) -> None:
    bench.receive(Caller().invite(extra=["Content-Encoding: gzip"]))
    assert bench.statuses() == [415]
    assert bench.last.get("accept-encoding") == "identity"


def test_body_that_may_be_ignored_is_ignored(bench: Bench) -> None:
    bench.receive(
        Caller().invite(
            body=b"<xml/>", content_type="application/xml", extra=["Content-Disposition: render;handling=optional"]
        )
    )
    [invited] = bench.told(Invited)
    assert isinstance(invited, Invited)
    assert invited.offer is None


def test_description_inside_a_multipart_of_a_sip_i_trunk_is_found(bench: Bench) -> None:
    body = (
        b"--b1\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"\r\n--b1\r\n"
        b"Content-Type: application/isup;version=itu-t92+\r\n\r\n\x01\x10\x00\r\n--b1--\r\n"
    )
    bench.receive(Caller().invite(body=body, content_type='multipart/mixed;boundary="b1"'))
    [invited] = bench.told(Invited)
    assert isinstance(invited, Invited)
    assert invited.offer == SDP


def test_description_without_content_type_is_taken(bench: Bench) -> None:
    raw = Caller().invite().replace(b"Content-Type: application/sdp\r\n", b"")
    bench.receive(raw)
    [invited] = bench.told(Invited)
    assert isinstance(invited, Invited)
    assert invited.offer == SDP


def test_tel_request_uri_is_accepted(bench: Bench) -> None:
    bench.receive(Caller(target="tel:+15550100").invite())
    assert len(bench.told(Invited)) == 1


def test_http_request_uri_gets_416(bench: Bench) -> None:
    bench.receive(Caller(target="http://192.0.2.1/").invite())
    assert bench.statuses() == [416]


@pytest.mark.parametrize("method", ["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE", "PRACK", "REFER"])
def test_methods_we_do_not_take_get_405_with_allow(bench: Bench, method: str) -> None:
    bench.receive(Caller().request(method))
    assert bench.statuses() == [405]
    assert "INVITE" in (bench.last.get("allow") or "")
    assert "REFER" not in (bench.last.get("allow") or "")


def test_refer_within_a_call_is_refused_against_toll_fraud(bench: Bench) -> None:
    caller, leg = establish(bench)
    assert not [
        event
        for event in bench.receive(caller.next("REFER", extra=["Refer-To: <tel:+88213000>"]))
        if not isinstance(event, Rejected)
    ]
    assert bench.statuses() == [405]
    assert bench.requests("INVITE") == []
    assert leg in bench.agent.legs


def test_options_outside_a_call_says_what_we_can(bench: Bench) -> None:
    bench.receive(Caller().request("OPTIONS"))
    assert bench.statuses() == [200]
    assert bench.last.get("accept") == "application/sdp"
    assert "INVITE" in (bench.last.get("allow") or "")
    assert bench.last.get("supported") is not None
    assert bench.last.to_tag


def test_options_within_a_call(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("OPTIONS"))
    assert bench.statuses() == [200]
    assert leg in bench.agent.legs


def test_info_is_answered_and_told(bench: Bench) -> None:
    caller, leg = establish(bench)
    told = bench.receive(caller.next("INFO", body=b"Signal=5\r\n", content_type="application/dtmf-relay"))
    assert told == [InfoReceived(leg, "application/dtmf-relay", b"Signal=5\r\n")]
    assert bench.statuses() == [200]


def test_notify_without_our_subscription_gets_481(bench: Bench) -> None:
    caller, _ = establish(bench)
    bench.receive(caller.next("NOTIFY", extra=["Event: refer", "Subscription-State: active"]))
    assert bench.statuses() == [481]


def test_draining_agent_refuses_new_calls_with_503_and_keeps_the_old(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.take(bench.agent.drain(bench.now))
    bench.receive(Caller(call_id="second").invite(branch="second"))
    assert bench.statuses() == [503]
    assert bench.last.get("retry-after") == "30"
    assert bench.receive(caller.next("BYE")) == [HungUp(leg, None)]


def test_too_many_calls_get_503_with_retry_after() -> None:
    bench = Bench(new_agent(max_legs=1))
    ring(bench)
    bench.receive(Caller(call_id="second").invite(branch="second"))
    assert bench.statuses() == [503]
    assert bench.last.get("retry-after") == "30"
    assert len(bench.agent.legs) == 1
    assert bench.agent.counters.refused_busy == 1


def test_full_transaction_table_is_answered_without_state() -> None:
    bench = Bench(new_agent(max_transactions=1))
    ring(bench)
    bench.receive(Caller(call_id="second").invite(branch="second"))
    bench.receive(Caller(call_id="second").invite(branch="second"))
    assert bench.statuses() == [503, 503]
    assert bench.responses()[0].to_tag == bench.responses()[1].to_tag, "the same tag without remembering it"
    assert bench.agent.counters.dropped_full == 2


# -- odd bytes -----------------------------------------------------------------------------------------------------


def test_compact_and_folded_headers_are_read_and_kept_as_they_came(bench: Bench) -> None:
    raw = (
        b"INVITE sip:agent@192.0.2.1 SIP/2.0\r\n"
        b"v: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKx\r\nf: <sip:peer@192.0.2.10>\r\n ;tag=peer\r\n"
        b"t: <sip:agent@192.0.2.1>\r\ni: compact\r\nCSEQ: 1 INVITE\r\nm: <sip:peer@192.0.2.10>\r\n"
        b"X-Twice: b\r\nx-TWICE: a\r\nX-Bytes: \xff\xfe\r\nc: application/sdp\r\nl: "
        + str(len(SDP)).encode()
        + b"\r\n\r\n"
    ) + SDP
    bench.receive(raw)
    [invited] = bench.told(Invited)
    assert isinstance(invited, Invited)
    names = [name for name, _ in invited.request.headers]
    assert names == ["v", "f", "t", "i", "CSEQ", "m", "X-Twice", "x-TWICE", "X-Bytes", "c", "l"]
    assert invited.request.all("x-twice") == ["b", "a"]
    assert invited.request.get("from") == "<sip:peer@192.0.2.10> ;tag=peer"
    assert (invited.request.get("x-bytes") or "").encode("utf-8", "surrogateescape") == b"\xff\xfe"
    assert invited.request.encode().count(b"\xff\xfe") == 1


def test_keepalives_on_udp_are_swallowed(bench: Bench) -> None:
    for data in (b"\r\n\r\n", b"\r\n", b"\0\0\0\0", b"", b"\0"):
        assert bench.receive(data) == []
    assert bench.sent == []


def test_ping_on_a_stream_gets_its_pong(bench: Bench) -> None:
    assert bench.agent.receive(b"\r\n\r\n", TCP, 0.0) == [Transmit(TCP, b"\r\n")]


def test_message_on_a_stream_without_content_length_gets_400(bench: Bench) -> None:
    bench.flow = TCP
    raw = Caller(via="SIP/2.0/TCP 192.0.2.10").request("OPTIONS").replace(b"Content-Length: 0\r\n", b"")
    bench.receive(raw)
    [response] = bench.responses()
    assert (response.status, response.reason) == (400, "Missing Content-Length header")


def test_body_above_the_limit_on_a_stream_gets_413(bench: Bench) -> None:
    bench.flow = TCP
    raw = Caller(via="SIP/2.0/TCP 192.0.2.10").request("OPTIONS").replace(b"Length: 0", b"Length: 2000000")
    bench.receive(raw)
    assert bench.statuses() == [413]
    assert bench.agent.counters.malformed == 1


def test_too_many_header_lines_get_513(bench: Bench) -> None:
    bench.receive(Caller().request("OPTIONS", extra=[f"X-{number}: 1" for number in range(130)]))
    assert bench.statuses() == [513]


def test_malformed_ack_is_not_answered(bench: Bench) -> None:
    bench.receive(Caller(to_tag="x").ack().replace(b"CSeq: 1 ACK", b"CSeq: x ACK"))
    assert bench.sent == []
    assert bench.agent.counters.malformed == 1


def test_bad_cseq_with_a_good_via_is_answered_without_reading_it_again(bench: Bench) -> None:
    bench.agent.receive(Caller().invite().replace(b"CSeq: 1 INVITE", b"CSeq: 1 1 1"), UDP, 0.0)
    assert bench.agent.counters.malformed == 1
    assert not bench.agent.legs


# -- corners -----------------------------------------------------------------------------------------------------------


def test_vias_in_one_line_come_back_in_one_line_with_the_first_stamped(bench: Bench) -> None:
    raw = (
        Caller()
        .request("OPTIONS")
        .replace(
            b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-OPTIONS-1",
            b"Via: SIP/2.0/UDP p.example;branch=z9hG4bK1;rport, SIP/2.0/UDP q.example;branch=z9hG4bK2",
        )
    )
    bench.receive(raw)
    assert bench.last.all("via") == [
        "SIP/2.0/UDP p.example;branch=z9hG4bK1;rport=5060;received=192.0.2.10, SIP/2.0/UDP q.example;branch=z9hG4bK2"
    ]


def test_caller_behind_a_proxy_is_not_taken_for_one_behind_nat(bench: Bench) -> None:
    raw = Caller(via="SIP/2.0/UDP 192.0.2.44:5060", contact="<sip:peer@192.0.2.44:5070>").invite()
    caller = Caller()
    [invited] = bench.receive(raw.replace(b"z9hG4bK-INVITE-1", b"z9hG4bK-INVITE-1, SIP/2.0/UDP far.example;branch=z9"))
    assert isinstance(invited, Invited)
    bench.take(bench.agent.answer(invited.leg, OUR_SDP, bench.now))
    caller.to_tag = invited.leg.id
    bench.receive(caller.ack())
    bench.take(bench.agent.hang_up(invited.leg, bench.now))
    assert bench.flows[-1].remote == ("192.0.2.44", 5070)


def test_unreadable_bodies_of_ack_and_reinvite(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.ack(body=b"<xml/>").replace(b"application/sdp", b"text/xml")) == [Confirmed(leg, None)]
    told = bench.receive(caller.next("INVITE", body=b"<xml/>", content_type="text/xml"))
    assert [type(event) for event in told] == [Rejected]
    assert bench.statuses() == [200, 415]
    assert leg in bench.agent.legs


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INFO", "OPTIONS"])
def test_requests_after_our_bye_get_481(bench: Bench, method: str) -> None:
    caller, leg = establish(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    bench.receive(caller.next(method))
    assert bench.statuses() == [481]


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_offers_between_our_hang_up_and_the_ack_get_481(bench: Bench, method: str) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.take(bench.agent.hang_up(leg, bench.now))
    bench.receive(caller.next(method, body=SDP))
    assert bench.statuses() == [200, 481]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/mixed", b"--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--"),
        ("multipart/mixed;boundary=b", b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/mixed;boundary=b", b"--b\r\nContent-Type: text/plain"),
        ('multipart/mixed;boundary="b', b"--b--"),
    ],
)
def test_multipart_without_a_description_gets_415(bench: Bench, content_type: str, body: bytes) -> None:
    bench.receive(Caller().invite(body=body, content_type=content_type))
    assert bench.statuses() == [415]


def test_body_that_is_nothing_we_know_and_says_nothing_gets_415(bench: Bench) -> None:
    bench.receive(Caller().invite(body=b"hello").replace(b"Content-Type: application/sdp\r\n", b""))
    assert bench.statuses() == [415]


def test_notify_outside_a_call_gets_481(bench: Bench) -> None:
    bench.receive(Caller().request("NOTIFY", extra=["Event: keep-alive"]))
    assert bench.statuses() == [481]


@pytest.mark.parametrize("status", [99, 200])
def test_ring_takes_provisional_statuses(bench: Bench, status: int) -> None:
    _, leg = ring(bench)
    with pytest.raises(LocalError):
        bench.agent.ring(leg, bench.now, status)


def test_answer_to_an_offer_takes_final_statuses(bench: Bench) -> None:
    _, leg = establish(bench)
    with pytest.raises(LocalError):
        bench.agent.answer_offer(leg, OUR_SDP, bench.now, 183)


def test_early_media_goes_out_with_183(bench: Bench) -> None:
    _, leg = ring(bench)
    bench.take(bench.agent.ring(leg, bench.now, 183, OUR_SDP))
    assert bench.statuses() == [183]
    assert bench.last.body == OUR_SDP
    assert bench.last.get("content-type") == "application/sdp"


@pytest.mark.parametrize("tag", ["", ";tag=theirs", ";x=1;TAG=theirs"])
def test_answer_to_a_malformed_request_adds_a_to_tag_only_where_there_is_none(bench: Bench, tag: str) -> None:
    raw = Caller().request("OPTIONS").replace(b"Content-Length: 0", b"Content-Length: x")
    [transmit, _] = bench.agent.receive(
        raw.replace(b"<sip:agent@192.0.2.1>\r\n", f"<sip:agent@192.0.2.1>{tag}\r\n".encode()), UDP, 0.0
    )
    assert isinstance(transmit, Transmit)
    assert transmit.data.lower().count(b";tag=") == 2, "one in From, one in To"


def test_options_is_answered_as_an_invite_would_be() -> None:
    """RFC 3261 11.2: trunks ask by OPTIONS whether they may send calls here."""
    bench = Bench(new_agent(max_legs=1))
    caller, _ = establish(bench)
    bench.receive(Caller(call_id="ping-2").request("OPTIONS", branch="ping-2"))
    bench.receive(caller.next("OPTIONS"))
    bench.receive(caller.next("BYE"))
    bench.run(40)
    bench.receive(Caller(call_id="ping-3").request("OPTIONS", branch="ping-3"))
    assert [response.status for response in bench.responses() if response.method == "OPTIONS"] == [503, 200, 200]
    bench.clear()
    bench.take(bench.agent.drain(bench.now))
    bench.receive(Caller(call_id="ping-4").request("OPTIONS", branch="ping-4"))
    [refused] = bench.responses()
    assert (refused.status, refused.get("retry-after")) == (503, "30")
    [told] = bench.told(Rejected)
    assert isinstance(told, Rejected)
    assert (told.method, told.why) == ("OPTIONS", "draining")
