"""The calling side of the agent (RFC 3261 8.1, 9.1, 13.2, 17.1)."""

from __future__ import annotations

import pytest
from tests.sip_peer import OUR_SDP, PEER, SDP, Bench, Caller, call, call_established, establish, new_agent, respond

from offhook.errors import LocalError
from offhook.sip.flow import Flow
from offhook.sip.leg import Cancelling, Ended, Established
from offhook.sip.message import Request
from offhook.sip.output import Answered, HungUp, LegLost, Progressed, Refused, Released


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_call_rings_is_answered_and_hung_up(bench: Bench) -> None:
    leg, invite = call(bench)
    assert invite.uri == "sip:callee@192.0.2.10:5060"
    assert invite.get("max-forwards") == "70"
    assert invite.get("content-type") == "application/sdp"
    assert invite.body == OUR_SDP
    assert bench.receive(respond(invite, 100, tag="")) == []
    assert bench.receive(respond(invite, 183, body=SDP)) == [Progressed(leg, 183, "Whatever", SDP)]
    [answered] = bench.receive(respond(invite, 200, body=SDP))
    assert isinstance(answered, Answered)
    assert answered.body == SDP
    [ack] = bench.requests("ACK")
    assert (ack.uri, ack.cseq, ack.to_tag) == ("sip:callee@192.0.2.10:5060", 1, "callee")
    assert ack.via is not None
    assert invite.via is not None
    assert ack.via.branch != invite.via.branch, "the ACK of a 2xx is a transaction of its own"
    bench.take(bench.agent.hang_up(leg, bench.now))
    [bye] = bench.requests("BYE")
    assert bye.cseq == 2
    assert bench.receive(respond(bye, 200)) == [Released(leg, 200)]
    bench.run(40)
    assert bench.agent.is_idle


def test_display_names_headers_and_routes_of_the_host_are_sent(bench: Bench) -> None:
    _, invite = call(
        bench,
        from_='"Bob \\"B\\"" <sip:bob@b.example>',
        to="sip:alice@a.example",
        route=("sip:proxy.example;lr",),
        headers=(("P-Asserted-Identity", "<sip:bob@b.example>"),),
    )
    assert (invite.get("from") or "").startswith('"Bob \\"B\\"" <sip:bob@b.example>;tag=')
    assert invite.get("to") == "<sip:alice@a.example>"
    assert invite.all("route") == ["<sip:proxy.example;lr>"]
    assert invite.get("p-asserted-identity") == "<sip:bob@b.example>"


@pytest.mark.parametrize(
    "more",
    [
        {"from_": "nobody"},
        {"from_": '"open <sip:a@b>'},
        {"from_": "<sip:a@b>\r\nX: y"},
        {"to": "<sip:a@b>\r\nX: y"},
        {"route": ("sip:x\r\ny",)},
        {"headers": (("Bad Name", "x"),)},
    ],
)
def test_addresses_of_the_host_are_checked(bench: Bench, more: dict[str, object]) -> None:
    with pytest.raises(LocalError):
        call(bench, **more)
    assert bench.agent.is_idle


@pytest.mark.parametrize("target", ["", "nobody", "sip:", "sip:a@b?Subject=x", "sip:a@b\r\nX: y"])
def test_targets_of_the_host_are_checked(bench: Bench, target: str) -> None:
    with pytest.raises(LocalError):
        bench.agent.invite(target, bench.flow, OUR_SDP, 0.0, from_="<sip:a@b>")


def test_invite_is_repeated_with_doubled_waits_and_given_up_after_32_s(bench: Bench) -> None:
    leg, _ = call(bench)
    told = bench.run(33)
    assert told == [Refused(leg, 408, "Request Timeout", None)]
    assert len(bench.requests("INVITE")) == 7, "timer A: 0.5, 1, 2, 4, 8, 16 (RFC 3261 17.1.1.2)"
    assert bench.agent.is_idle


def test_provisional_response_stops_the_repetition(bench: Bench) -> None:
    _, invite = call(bench)
    bench.receive(respond(invite, 180))
    bench.run(60)
    assert len(bench.requests("INVITE")) == 1


@pytest.mark.parametrize("status", [302, 404, 486, 503, 603])
def test_refusal_is_acknowledged_on_the_branch_of_the_invite(bench: Bench, status: int) -> None:
    leg, invite = call(bench, route=("sip:192.0.2.10;lr",))
    [refused] = bench.receive(respond(invite, status, extra=["Contact: <sip:other@x>"]))
    assert isinstance(refused, Refused)
    assert refused.status == status
    assert refused.response is not None
    assert refused.response.get("contact") == "<sip:other@x>"
    [ack] = bench.requests("ACK")
    assert ack.get("via") == invite.get("via")
    assert ack.all("route") == invite.all("route")
    assert ack.to_tag == "callee"
    assert (ack.cseq, ack.uri) == (invite.cseq, invite.uri)
    assert bench.receive(respond(invite, status)) == []
    assert len(bench.requests("ACK")) == 2, "the refusal came again, so does its ACK"
    assert isinstance(leg.state, Ended)
    bench.run(33)
    assert bench.agent.is_idle


def test_repeated_200_is_acknowledged_again_and_told_once(bench: Bench) -> None:
    _, invite = call(bench)
    bench.receive(respond(invite, 200, body=SDP))
    assert bench.receive(respond(invite, 200, body=SDP)) == []
    first, second = bench.requests("ACK")
    assert first.encode() == second.encode()
    assert bench.requests("BYE") == []


def test_second_branch_of_a_forking_proxy_is_acknowledged_and_let_go(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.receive(respond(invite, 180, tag="one"))
    bench.receive(respond(invite, 180, tag="two"))
    bench.receive(respond(invite, 200, tag="two", body=SDP))
    assert bench.receive(respond(invite, 200, tag="one", body=SDP, contact="<sip:other@192.0.2.77>")) == []
    assert [ack.to_tag for ack in bench.requests("ACK")] == ["two", "one"]
    [bye] = bench.requests("BYE")
    assert (bye.to_tag, bye.uri) == ("one", "sip:other@192.0.2.77")
    assert leg.remote_tag == "two"
    bench.receive(respond(invite, 200, tag="one", body=SDP))
    assert len(bench.requests("BYE")) == 1
    assert len(bench.requests("ACK")) == 3
    bench.receive(respond(bye, 200))
    assert isinstance(leg.state, Established)


def test_many_forks_are_bounded(bench: Bench) -> None:
    _, invite = call(bench)
    for number in range(40):
        bench.receive(respond(invite, 200, tag=f"t{number}", body=SDP))
    assert len(bench.requests("ACK")) == 16


def test_route_set_of_the_caller_is_reversed(bench: Bench) -> None:
    leg, invite = call(bench)
    routes = ["Record-Route: <sip:192.0.2.31;lr>, <sip:p2.example;lr>", "Record-Route: <sip:192.0.2.33;lr>"]
    bench.receive(respond(invite, 200, body=SDP, extra=routes))
    [ack] = bench.requests("ACK")
    assert ack.all("route") == ["<sip:192.0.2.33;lr>", "<sip:p2.example;lr>", "<sip:192.0.2.31;lr>"]
    assert bench.flows[-1].remote == ("192.0.2.33", 5060)
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.requests("BYE")[0].all("route") == ack.all("route")


def test_offerless_invite_is_acknowledged_with_our_answer(bench: Bench) -> None:
    leg, invite = call(bench, body=None)
    assert invite.body == b""
    assert invite.get("content-type") is None
    [answered] = bench.receive(respond(invite, 200, body=SDP))
    assert isinstance(answered, Answered)
    assert bench.requests("ACK") == []
    assert bench.receive(respond(invite, 200, body=SDP)) == []
    bench.take(bench.agent.acknowledge(leg, OUR_SDP, bench.now))
    [ack] = bench.requests("ACK")
    assert ack.body == OUR_SDP
    assert bench.agent.acknowledge(leg, OUR_SDP, bench.now) == []


def test_offerless_call_that_is_hung_up_first_is_acknowledged_all_the_same(bench: Bench) -> None:
    leg, invite = call(bench, body=None)
    bench.receive(respond(invite, 200, body=SDP))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert [message.method for message in bench.sent if isinstance(message, Request)] == ["INVITE", "ACK", "BYE"]


# -- giving up -----------------------------------------------------------------------------------------------------


def test_hang_up_while_ringing_cancels(bench: Bench) -> None:
    leg, invite = call(bench, route=("sip:192.0.2.10;lr",))
    bench.receive(respond(invite, 180))
    assert bench.take(bench.agent.hang_up(leg, bench.now, reason="SIP;cause=408")) == []
    [cancel] = bench.requests("CANCEL")
    assert cancel.get("via") == invite.get("via")
    assert cancel.all("route") == invite.all("route")
    assert (cancel.uri, cancel.cseq, cancel.to_tag) == (invite.uri, invite.cseq, "")
    assert cancel.get("reason") == "SIP;cause=408"
    bench.receive(respond(cancel, 200))
    assert bench.receive(respond(invite, 487)) == [Released(leg, 487)]
    assert len(bench.requests("ACK")) == 1
    bench.run(40)
    assert bench.agent.is_idle


def test_cancel_waits_for_a_provisional_response(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.requests("CANCEL") == [], "RFC 3261 9.1"
    bench.receive(respond(invite, 100, tag=""))
    assert len(bench.requests("CANCEL")) == 1
    bench.receive(respond(invite, 180))
    assert len(bench.requests("CANCEL")) == 1
    assert bench.told(Progressed) == []


def test_call_to_nobody_that_is_hung_up_ends_with_timer_b(bench: Bench) -> None:
    leg, _ = call(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.run(33) == [Released(leg, None)]
    assert bench.requests("CANCEL") == []
    assert bench.agent.is_idle


def test_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.receive(respond(invite, 180))
    bench.take(bench.agent.hang_up(leg, bench.now))
    [cancel] = bench.requests("CANCEL")
    bench.receive(respond(cancel, 200))
    assert bench.receive(respond(invite, 200, body=SDP)) == []
    assert len(bench.requests("ACK")) == 1
    [bye] = bench.requests("BYE")
    assert bench.receive(respond(bye, 200)) == [Released(leg, 200)]
    assert bench.told(Answered) == []


def test_answer_without_provisional_after_hang_up_is_hung_up(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    bench.receive(respond(invite, 200, body=SDP))
    assert len(bench.requests("ACK")) == len(bench.requests("BYE")) == 1
    assert isinstance(leg, object)


def test_cancel_without_effect_is_forgotten_after_32_s(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.receive(respond(invite, 180))
    bench.take(bench.agent.hang_up(leg, bench.now))
    [cancel] = bench.requests("CANCEL")
    bench.receive(respond(cancel, 200))
    assert isinstance(leg.state, Cancelling)
    assert bench.run(33) == [Released(leg, None)]
    assert bench.agent.is_idle


def test_callee_that_never_saw_our_ack_says_bye(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.receive(respond(invite, 180))
    peer = Caller(call_id=invite.call_id, from_tag="callee", to_tag=leg.id, cseq=0)
    assert bench.receive(peer.next("BYE")) == [HungUp(leg, None)]
    assert bench.statuses() == [200]
    bench.run(40)
    assert bench.agent.is_idle


# -- within the call -----------------------------------------------------------------------------------------------


def test_peer_may_ask_and_hang_up(bench: Bench) -> None:
    leg, peer = call_established(bench)
    bench.receive(peer.next("OPTIONS"))
    assert bench.receive(peer.next("BYE")) == [HungUp(leg, None)]
    assert bench.statuses() == [200, 200]


def test_requests_of_another_branch_get_481(bench: Bench) -> None:
    leg, peer = call_established(bench)
    peer.from_tag = "other-branch"
    bench.receive(peer.next("BYE"))
    assert bench.statuses() == [481]
    assert isinstance(leg.state, Established)


@pytest.mark.parametrize(("method", "status"), [("INVITE", 491), ("UPDATE", 491), ("OPTIONS", 200), ("INFO", 200)])
def test_requests_in_an_early_dialog(bench: Bench, method: str, status: int) -> None:
    leg, invite = call(bench)
    bench.receive(respond(invite, 180))
    peer = Caller(call_id=invite.call_id, from_tag="callee", to_tag=leg.id, cseq=0)
    bench.receive(peer.next(method, body=SDP if method in ("INVITE", "UPDATE") else b""))
    assert bench.statuses() == [status]


# -- transports ----------------------------------------------------------------------------------------------------


def test_dead_stream_refuses_with_503(bench: Bench) -> None:
    flow = Flow("TCP", PEER, ("192.0.2.1", 5060))
    leg, _ = call(bench, flow=flow)
    assert bench.take(bench.agent.transport_failed(flow, bench.now)) == [Refused(leg, 503, "Service Unavailable", None)]
    assert bench.agent.is_idle


def test_icmp_on_udp_is_only_a_hint(bench: Bench) -> None:
    leg, _ = call(bench)
    assert bench.take(bench.agent.transport_failed(bench.flow, bench.now)) == []
    assert leg in bench.agent.legs


def test_stream_lost_before_any_response_refuses(bench: Bench) -> None:
    flow = Flow("TCP", PEER, ("192.0.2.1", 5060))
    leg, _ = call(bench, flow=flow)
    closed = Flow("TCP", PEER, ("192.0.2.1", 5060), 3)
    assert bench.take(bench.agent.connection_closed(closed, bench.now)) == [
        Refused(leg, 503, "Service Unavailable", None)
    ]


def test_stream_is_not_repeated_on(bench: Bench) -> None:
    call(bench, flow=Flow("TCP", PEER, ("192.0.2.1", 5060)))
    bench.run(31)
    assert len(bench.requests("INVITE")) == 1
    assert bench.last.get("contact") == "<sip:192.0.2.1:5060;transport=tcp>"
    assert (bench.last.get("via") or "").startswith("SIP/2.0/TCP ")


def test_large_invite_tries_tcp_and_falls_back_to_udp(bench: Bench) -> None:
    leg, invite = call(bench, body=OUR_SDP + b"a=x:" + b"y" * 1300 + b"\r\n")
    assert bench.flows == [Flow("TCP", PEER, ("192.0.2.1", 5060))]
    assert (invite.get("via") or "").startswith("SIP/2.0/TCP ")
    bench.take(bench.agent.transport_failed(bench.flows[0], bench.now))
    again = bench.last
    assert isinstance(again, Request)
    assert bench.flows[-1] == bench.flow
    assert (again.get("via") or "").startswith("SIP/2.0/UDP ")
    assert again.get("contact") == "<sip:192.0.2.1:5060>"
    assert again.call_id == invite.call_id
    bench.run(0.6)
    assert len(bench.requests("INVITE")) == 3, "on UDP it is repeated"
    bench.receive(respond(again, 200, body=SDP))
    assert isinstance(leg.state, Established)


def test_large_invite_stays_on_udp_when_the_target_or_the_host_says_so() -> None:
    body = OUR_SDP + b"a=x:" + b"y" * 1300 + b"\r\n"
    bench = Bench(new_agent(large_requests="udp"))
    call(bench, body=body)
    assert bench.flows[-1].transport == "UDP"
    bench = Bench()
    _, outputs = bench.agent.invite("sip:a@192.0.2.10;transport=udp", bench.flow, body, 0.0, from_="<sip:b@c>")
    bench.take(outputs)
    assert bench.flows[-1].transport == "UDP"


def test_in_dialog_request_opens_a_connection_when_the_old_one_is_closed(bench: Bench) -> None:
    opened = Flow("TCP", ("192.0.2.10", 40000), ("192.0.2.1", 5060), 7)
    caller = Caller(via="SIP/2.0/TCP 192.0.2.10:5060", contact="<sip:peer@192.0.2.10:5080;transport=tcp>")
    bench.flow = opened
    _, leg = establish(bench, caller)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    assert bench.flows[-1] == opened, "the connection of the call is used again"
    bench.take(bench.agent.connection_closed(opened, bench.now))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.flows[-1] == Flow("TCP", ("192.0.2.10", 5080), ("192.0.2.1", 5060), 0)
    assert bench.take(bench.agent.transport_failed(bench.flows[-1], bench.now)) == [Released(leg, None)]


def test_bye_on_a_connection_that_closes_before_the_answer_is_sent_on_a_new_one(bench: Bench) -> None:
    opened = Flow("TCP", ("192.0.2.10", 40000), ("192.0.2.1", 5060), 7)
    bench.flow = opened
    caller = Caller(via="SIP/2.0/TCP 192.0.2.10:5060", contact="<sip:peer@192.0.2.10:5080;transport=tcp>")
    _, leg = establish(bench, caller)
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.take(bench.agent.connection_closed(opened, bench.now)) == []
    first, second = bench.requests("BYE")
    assert first.encode() == second.encode(), "the same transaction"
    assert [flow.remote for flow in bench.flows] == [("192.0.2.10", 40000), ("192.0.2.10", 5080)]
    assert bench.receive(respond(second, 200)) == [Released(leg, 200)]


# -- strays --------------------------------------------------------------------------------------------------------


def test_responses_to_nothing_are_counted(bench: Bench) -> None:
    _, invite = call(bench)
    stray = respond(invite, 200, body=SDP).replace(b"branch=z9hG4bK", b"branch=z9hG4bKx")
    assert bench.receive(stray) == []
    assert bench.receive(respond(invite, 200, body=SDP, extra=["Via: SIP/2.0/UDP second.example"])) == []
    assert bench.agent.counters.stray_responses == 2
    assert bench.requests("ACK") == []


def test_response_of_another_method_does_not_match(bench: Bench) -> None:
    _, invite = call(bench)
    bench.receive(respond(invite, 200, body=SDP).replace(b"CSeq: 1 INVITE", b"CSeq: 1 BYE"))
    assert bench.agent.counters.stray_responses == 1


def test_lost_leg_is_told_once(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    told = bench.run(100)
    assert [type(event) for event in told] == [LegLost]
    assert bench.agent.is_idle


def test_provisional_answer_to_bye_slows_its_repetition(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    bench.receive(respond(bench.requests("BYE")[0], 100))
    bench.run(16.1)
    assert len(bench.requests("BYE")) == 5, "every T2 (RFC 3261 17.1.2.2)"
    assert bench.receive(respond(bench.requests("BYE")[0], 200)) == [Released(leg, 200)]


def test_callee_that_gives_up_while_we_cancel(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.receive(respond(invite, 180))
    bench.take(bench.agent.hang_up(leg, bench.now))
    peer = Caller(call_id=invite.call_id, from_tag="callee", to_tag=leg.id, cseq=0)
    assert bench.receive(peer.next("BYE")) == [HungUp(leg, None)]
    assert bench.receive(respond(invite, 487)) == []
    bench.run(40)
    assert bench.agent.is_idle


def test_large_reinvite_tries_tcp_and_falls_back_to_udp(bench: Bench) -> None:
    leg, _ = call_established(bench)
    body = OUR_SDP + b"a=x:" + b"y" * 1300 + b"\r\n"
    bench.take(bench.agent.reinvite(leg, body, bench.now))
    assert bench.flows[-1] == Flow("TCP", PEER, ("192.0.2.1", 5060))
    bench.take(bench.agent.transport_failed(bench.flows[-1], bench.now))
    assert bench.flows[-1] == Flow("UDP", PEER, ("192.0.2.1", 5060))
    first, second = bench.requests("INVITE")
    assert (first.cseq, first.body) == (second.cseq, second.body)


def test_large_reinvite_stays_on_udp_when_the_contact_says_so(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.receive(respond(invite, 200, body=SDP, contact="<sip:callee@192.0.2.10:5060;transport=udp>"))
    bench.take(bench.agent.reinvite(leg, OUR_SDP + b"a=x:" + b"y" * 1300 + b"\r\n", bench.now))
    assert bench.flows[-1].transport == "UDP"


def test_failed_write_on_a_connection_counts_as_its_end(bench: Bench) -> None:
    opened = Flow("TCP", ("192.0.2.10", 40000), ("192.0.2.1", 5060), 7)
    bench.flow = opened
    _, leg = establish(bench, Caller(via="SIP/2.0/TCP 192.0.2.10", contact="<sip:peer@192.0.2.10:5080;transport=tcp>"))
    bench.take(bench.agent.transport_failed(opened, bench.now))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.flows[-1] == Flow("TCP", ("192.0.2.10", 5080), ("192.0.2.1", 5060), 0)


def test_provisional_answer_at_the_very_end_of_timer_f_does_not_hide_the_time_out(bench: Bench) -> None:
    """The driver may hand over a response before it lets the agent look at a deadline that has passed."""
    leg, _ = call_established(bench)
    bench.take(bench.agent.hang_up(leg, bench.now))
    bye = bench.requests("BYE")[0]
    bench.now += 33
    assert bench.receive(respond(bye, 100)) == []
    assert bench.take(bench.agent.advance(bench.now)) == [Released(leg, None)]
    bench.run(1)
    assert bench.agent.is_idle


def test_responses_after_a_deadline_has_passed_still_count(bench: Bench) -> None:
    leg, invite = call(bench)
    bench.now += 33
    [answered] = bench.receive(respond(invite, 200, body=SDP))
    assert isinstance(answered, Answered)
    assert bench.take(bench.agent.advance(bench.now)) == []
    assert isinstance(leg.state, Established)


def test_endless_provisional_answers_do_not_keep_a_dead_reinvite(bench: Bench) -> None:
    leg, peer = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    reinvite = bench.requests("INVITE")[0]
    bench.receive(respond(reinvite, 100))
    assert bench.receive(peer.next("BYE")) == [HungUp(leg, None)]
    for _ in range(5):
        bench.run(10)
        bench.receive(respond(reinvite, 180))
    assert bench.agent.is_idle
