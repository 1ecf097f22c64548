"""Changing a session: re-INVITE, hold, UPDATE, and both at once (RFC 3261 14, RFC 3311, RFC 6141)."""

from __future__ import annotations

import pytest
from tests.sip_peer import OUR_SDP, SDP, Bench, Caller, call, call_established, establish, respond, ring

from offhook.sip.errors import LegStateError
from offhook.sip.leg import BackingOff, Established
from offhook.sip.output import (
    Confirmed,
    HungUp,
    LegLost,
    OfferWithdrawn,
    Reanswered,
    Reoffered,
    ReofferRefused,
)

HOLD = SDP + b"a=sendonly\r\n"


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- the peer's re-INVITE ------------------------------------------------------------------------------------------


def test_hold_is_told_and_answered_and_the_call_goes_on(bench: Bench) -> None:
    caller, leg = establish(bench)
    assert bench.receive(caller.next("INVITE", body=HOLD)) == [Reoffered(leg, "INVITE", HOLD)]
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    assert bench.statuses() == [200]
    assert bench.last.body == OUR_SDP
    assert bench.receive(caller.ack()) == [Confirmed(leg, None)]
    bench.receive(caller.next("INVITE", body=SDP))
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    bench.receive(caller.ack())
    assert bench.receive(caller.next("BYE")) == [HungUp(leg, None)]


def test_answer_to_reinvite_is_repeated_until_its_ack_and_lost_after_32_s(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("INVITE", body=HOLD))
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    told = bench.run(33)
    assert len(bench.responses(200)) == 11
    assert [type(event) for event in told] == [LegLost]
    assert len(bench.requests("BYE")) > 0


def test_offerless_reinvite_gets_our_offer_and_the_answer_in_the_ack(bench: Bench) -> None:
    caller, leg = establish(bench)
    assert bench.receive(caller.next("INVITE")) == [Reoffered(leg, "INVITE", None)]
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.ack(body=SDP)) == [Confirmed(leg, SDP)]


def test_refused_reinvite_leaves_the_call_and_its_target(bench: Bench) -> None:
    caller, leg = establish(bench)
    caller.contact = "<sip:moved@192.0.2.50>"
    bench.receive(caller.next("INVITE", body=HOLD))
    bench.take(bench.agent.answer_offer(leg, None, bench.now, 488))
    assert bench.statuses() == [488]
    assert leg.remote_target == "sip:peer@192.0.2.10:5060"
    bench.receive(caller.ack(branch="INVITE-2"))
    assert isinstance(leg.state, Established)


def test_target_follows_the_contact_of_a_reinvite(bench: Bench) -> None:
    caller, leg = establish(bench)
    caller.contact = "<sip:moved@192.0.2.50:5070>"
    bench.receive(caller.next("INVITE", body=SDP))
    assert leg.remote_target == "sip:peer@192.0.2.10:5060"
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    assert leg.remote_target == "sip:moved@192.0.2.50:5070"
    bench.receive(caller.ack())
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert bench.requests("BYE")[0].uri == "sip:moved@192.0.2.50:5070"
    assert bench.flows[-1].remote == ("192.0.2.50", 5070)


def test_second_reinvite_while_the_first_is_pending_gets_500_with_retry_after(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("INVITE", body=HOLD))
    bench.receive(caller.next("INVITE", body=SDP))
    assert bench.statuses() == [500]
    assert 0 <= int(bench.last.get("retry-after") or "-1") <= 10
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    assert bench.statuses() == [500, 200]
    assert bench.last.cseq == 2


def test_second_invite_before_the_first_is_answered_gets_500(bench: Bench) -> None:
    caller, _ = ring(bench)
    bench.receive(caller.next("INVITE", body=SDP))
    assert bench.statuses() == [500]
    assert bench.last.get("retry-after") is not None


def test_cancelled_reinvite_is_withdrawn_and_the_call_goes_on(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("INVITE", body=HOLD))
    told = bench.receive(caller.request("CANCEL", branch="INVITE-2"))
    assert told == [OfferWithdrawn(leg)]
    assert bench.statuses() == [200, 487]
    assert bench.agent.answer_offer(leg, OUR_SDP, bench.now) == []
    assert isinstance(leg.state, Established)


def test_bye_answers_a_pending_reinvite_with_487(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("INVITE", body=HOLD))
    assert bench.receive(caller.next("BYE")) == [HungUp(leg, None)]
    assert sorted(bench.statuses()) == [200, 487]
    bench.run(40)
    assert bench.agent.is_idle


def test_reinvite_while_the_ack_of_our_offerless_answer_is_missing_gets_491(bench: Bench) -> None:
    caller, leg = ring(bench, body=b"")
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.receive(caller.next("INVITE", body=SDP))
    assert bench.statuses() == [200, 491], "the answer that the lost ACK carried is still missing (RFC 5407 3.1.5)"


def test_reinvite_before_the_ack_of_our_answer_is_taken(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.next("INVITE", body=HOLD)) == [Reoffered(leg, "INVITE", HOLD)]
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    bench.receive(caller.ack(cseq=1))
    bench.receive(caller.ack(cseq=2))
    bench.run(40)
    assert isinstance(leg.state, Established)


# -- UPDATE --------------------------------------------------------------------------------------------------------


def test_session_timer_refresh_by_update_is_answered_at_once(bench: Bench) -> None:
    caller, leg = establish(bench)
    caller.contact = "<sip:moved@192.0.2.50>"
    refresh = caller.next("UPDATE", extra=["Session-Expires: 1800;refresher=uac", "Supported: timer"])
    assert bench.receive(refresh) == []
    assert bench.statuses() == [200]
    assert leg.remote_target == "sip:moved@192.0.2.50"


def test_session_timer_refresh_by_reinvite_is_told_and_answered(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("INVITE", body=SDP, extra=["Session-Expires: 1800;refresher=uac"]))
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    bench.receive(caller.ack())
    assert bench.statuses() == [200]


def test_update_with_an_offer_is_told_and_answered(bench: Bench) -> None:
    caller, leg = establish(bench)
    assert bench.receive(caller.next("UPDATE", body=HOLD)) == [Reoffered(leg, "UPDATE", HOLD)]
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    assert bench.statuses() == [200]
    assert bench.last.body == OUR_SDP
    assert bench.last.get("content-type") == "application/sdp"
    bench.run(40)
    assert isinstance(leg.state, Established)


def test_update_with_an_offer_while_another_is_pending_gets_500(bench: Bench) -> None:
    caller, _ = establish(bench)
    bench.receive(caller.next("INVITE", body=HOLD))
    bench.receive(caller.next("UPDATE", body=SDP))
    assert bench.statuses() == [500]


def test_update_with_an_offer_while_ours_is_pending_gets_491(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    bench.receive(caller.next("UPDATE", body=SDP))
    assert bench.statuses() == [491]


def test_update_of_a_ringing_call(bench: Bench) -> None:
    caller, _ = ring(bench)
    bench.receive(caller.next("UPDATE"))
    bench.receive(caller.next("UPDATE", body=SDP))
    assert bench.statuses() == [200, 500]


# -- our re-INVITE -------------------------------------------------------------------------------------------------


def test_our_reinvite_is_answered_and_acknowledged(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    [invite] = bench.requests("INVITE")
    assert invite.cseq == 1
    assert (invite.from_tag, invite.to_tag) == (leg.id, caller.from_tag)
    answer = respond(invite, 200, body=SDP, contact="<sip:moved@192.0.2.50>")
    assert bench.receive(answer) == [Reanswered(leg, SDP)]
    assert leg.remote_target == "sip:moved@192.0.2.50"
    [ack] = bench.requests("ACK")
    assert (ack.cseq, ack.uri) == (1, "sip:moved@192.0.2.50")
    assert bench.receive(answer) == []
    assert len(bench.requests("ACK")) == 2


def test_our_offerless_reinvite_owes_an_answer(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, None, bench.now))
    [invite] = bench.requests("INVITE")
    assert bench.receive(respond(invite, 200, body=SDP)) == [Reanswered(leg, SDP)]
    assert bench.requests("ACK") == []
    bench.take(bench.agent.acknowledge(leg, OUR_SDP, bench.now))
    assert bench.requests("ACK")[0].body == OUR_SDP


def test_refused_reinvite_of_ours_leaves_the_session(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    [invite] = bench.requests("INVITE")
    assert bench.receive(respond(invite, 488)) == [ReofferRefused(leg, 488, "Whatever")]
    assert isinstance(leg.state, Established)


@pytest.mark.parametrize("status", [408, 481])
def test_408_and_481_to_our_reinvite_end_the_call_with_bye(bench: Bench, status: int) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    [lost] = bench.receive(respond(bench.requests("INVITE")[0], status))
    assert isinstance(lost, LegLost)
    assert str(status) in lost.cause
    assert len(bench.requests("BYE")) == 1


def test_glare_backs_off_longer_for_the_owner_of_the_call_id(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    assert bench.receive(respond(bench.requests("INVITE")[0], 491)) == []
    assert isinstance(leg.offering, BackingOff)
    assert 2.1 <= leg.offering.until <= 4.0
    bench.run(4.1)
    first, second = bench.requests("INVITE")[:2]
    assert second.cseq == first.cseq + 1
    assert second.body == OUR_SDP
    assert bench.receive(respond(second, 200, body=SDP)) == [Reanswered(leg, SDP)]


def test_glare_backs_off_shorter_for_the_other(bench: Bench) -> None:
    _, leg = establish(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    bench.receive(respond(bench.requests("INVITE")[0], 491))
    assert isinstance(leg.offering, BackingOff)
    assert 0 <= leg.offering.until <= 2.0


def test_endless_glare_is_told(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    for _ in range(8):
        if bench.told(ReofferRefused):
            break
        bench.receive(respond(bench.requests("INVITE")[-1], 491))
        bench.run(4.1)
    assert bench.told(ReofferRefused) == [ReofferRefused(leg, 491, "Whatever")]
    assert len({invite.cseq for invite in bench.requests("INVITE")}) == 7


def test_reinvite_of_the_peer_during_our_wait_goes_first(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    bench.receive(respond(bench.requests("INVITE")[0], 491))
    bench.receive(caller.next("INVITE", body=HOLD))
    bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    assert len(bench.requests("INVITE")) == 1
    bench.receive(caller.ack())
    assert len(bench.requests("INVITE")) == 2


def test_reinvite_of_the_peer_during_ours_gets_491(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    assert bench.receive(caller.next("INVITE", body=HOLD)) == []
    assert bench.statuses() == [491]


def test_our_reinvite_waits_for_the_ack_of_our_answer(bench: Bench) -> None:
    caller, leg = ring(bench)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    assert bench.requests("INVITE") == []
    bench.receive(caller.ack())
    assert len(bench.requests("INVITE")) == 1


def test_our_reinvite_waits_for_the_ack_of_our_refusal(bench: Bench) -> None:
    caller, leg = establish(bench)
    bench.receive(caller.next("INVITE", body=HOLD))
    bench.take(bench.agent.answer_offer(leg, None, bench.now, 488))
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    bench.run(2)
    assert bench.requests("INVITE") == [], "their INVITE is still in progress (RFC 3261 14.1)"
    bench.receive(caller.ack(branch="INVITE-2"))
    bench.run(1)
    assert len({invite.cseq for invite in bench.requests("INVITE")}) == 1


def test_later_wish_replaces_one_that_waits(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, b"v=0\r\none", bench.now))
    bench.take(bench.agent.reinvite(leg, b"v=0\r\ntwo", bench.now))
    bench.take(bench.agent.reinvite(leg, b"v=0\r\nthree", bench.now))
    bench.receive(respond(bench.requests("INVITE")[0], 200, body=SDP))
    first, second = bench.requests("INVITE")
    assert (first.body, second.body) == (b"v=0\r\none", b"v=0\r\nthree")


def test_hang_up_during_our_reinvite_sends_bye_and_acknowledges_a_late_answer(bench: Bench) -> None:
    leg, _ = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    bench.take(bench.agent.hang_up(leg, bench.now))
    assert len(bench.requests("BYE")) == 1
    assert bench.receive(respond(bench.requests("INVITE")[0], 200, body=SDP)) == []
    assert len(bench.requests("ACK")) == 1


def test_reinvite_before_the_answer_is_the_hosts_mistake(bench: Bench) -> None:
    leg, _ = call(bench)
    with pytest.raises(LegStateError):
        bench.agent.reinvite(leg, OUR_SDP, bench.now)


def test_unanswered_reinvite_repeats_nothing_after_the_call(bench: Bench) -> None:
    leg, peer = call_established(bench)
    bench.take(bench.agent.reinvite(leg, OUR_SDP, bench.now))
    assert bench.receive(peer.next("BYE")) == [HungUp(leg, None)]
    assert bench.run(70) == []
    assert bench.agent.is_idle


def test_many_unacknowledged_answers_are_bounded(bench: Bench) -> None:
    caller, leg = establish(bench, Caller())
    for _ in range(6):
        bench.receive(caller.next("INVITE", body=SDP))
        bench.take(bench.agent.answer_offer(leg, OUR_SDP, bench.now))
    assert bench.statuses() == [200, 200, 200, 200, 500, 500]
