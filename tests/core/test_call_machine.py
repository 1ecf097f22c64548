"""A call rings, is decided about, and ends once; every action gets one answer, however often it comes."""

from __future__ import annotations

import pytest

from offhook.call.end import By, End, Result
from offhook.call.machine import (
    AcceptAsked,
    Announce,
    Answered,
    AnswerFailed,
    AnswerLeg,
    BugFound,
    CallerCancelled,
    CallerHungUp,
    CallInput,
    CallMachine,
    CallOptions,
    CallOutput,
    DeadlinePassed,
    DrainBegan,
    Finish,
    HangUpAsked,
    HangUpLeg,
    LegAnswered,
    LegLost,
    MediaLost,
    ReferAsked,
    ReferMoved,
    RejectAsked,
    RejectLeg,
    Reply,
    ReportRefer,
    SendRefer,
)
from offhook.wire.session import SessionParams

PARAMS = SessionParams(type="realtime")
ACCEPT = AcceptAsked(PARAMS, b"{}", 1)


class Call:
    def __init__(self, options: CallOptions | None = None) -> None:
        self.now = 10.0
        self.machine = CallMachine(options or CallOptions(), self.now)

    def takes(self, event: CallInput, after_s: float = 0.0) -> list[CallOutput]:
        self.now += after_s
        return self.machine.handle(event, self.now)

    def waits(self, seconds: float) -> list[CallOutput]:
        end, outputs = self.now + seconds, []
        while (deadline := self.machine.next_deadline()) is not None and deadline <= end:
            self.now = deadline
            outputs += self.takes(DeadlinePassed())
        self.now = end
        return outputs


def answered(options: CallOptions | None = None) -> Call:
    call = Call(options)
    assert call.takes(ACCEPT) == [AnswerLeg(PARAMS)]
    assert call.takes(LegAnswered()) == [Reply(1)]
    return call


def problem(outputs: list[CallOutput]) -> tuple[int, str | None]:
    replies = [output for output in outputs if isinstance(output, Reply)]
    assert len(replies) == 1
    assert replies[0].problem is not None
    return replies[0].problem.status, replies[0].problem.code


def finished(outputs: list[CallOutput]) -> End:
    assert isinstance(outputs[-1], Finish | Reply)
    return next(output.end for output in outputs if isinstance(output, Finish))


def test_a_new_call_is_announced() -> None:
    assert Call().machine.start() == [Announce()]


def test_nobody_accepts_and_the_caller_gets_the_configured_status() -> None:
    call = Call(CallOptions(ring_s=30, ring_out_status=408))
    assert call.waits(29.9) == []
    outputs = call.waits(0.2)
    assert outputs[0] == RejectLeg(408)
    assert finished(outputs) == End(Result.UNANSWERED, By.SERVER, "ring_timeout", 408, "nobody accepted within 30 s")


def test_reject_refuses_the_caller_and_ends_the_call() -> None:
    outputs = Call().takes(RejectAsked(486, 7))
    assert outputs[0] == RejectLeg(486)
    assert finished(outputs).result is Result.REJECTED
    assert outputs[-1] == Reply(7)


def test_a_repeated_reject_is_harmless_when_the_client_says_it_is_one() -> None:
    call = Call()
    call.takes(RejectAsked(486, 1))
    assert call.takes(RejectAsked(486, 2, retried=True)) == [Reply(2)]
    assert problem(call.takes(RejectAsked(486, 3))) == (404, "call_id_not_found")
    assert problem(call.takes(RejectAsked(603, 4, retried=True))) == (404, "call_id_not_found")


def test_hangup_while_ringing_refuses_with_603() -> None:
    outputs = Call().takes(HangUpAsked(1))
    assert outputs[0] == RejectLeg(603)
    assert outputs[-1] == Reply(1)


def test_a_second_hangup_finds_no_call_but_a_retry_of_the_first_is_harmless() -> None:
    call = answered()
    outputs = call.takes(HangUpAsked(2))
    assert outputs[0] == HangUpLeg("application_hung_up")
    assert finished(outputs) == End(Result.COMPLETED, By.APPLICATION, "application_hung_up")
    assert problem(call.takes(HangUpAsked(3))) == (404, "call_id_not_found")
    assert call.takes(HangUpAsked(4, retried=True)) == [Reply(4)]


def test_the_same_accept_again_is_harmless_and_another_one_is_refused() -> None:
    call = answered()
    assert call.takes(AcceptAsked(PARAMS, b"{}", 2)) == [Reply(2)]
    assert problem(call.takes(AcceptAsked(PARAMS, b"{ }", 3))) == (400, "call_already_accepted")
    assert problem(call.takes(RejectAsked(486, 4))) == (400, "call_already_accepted")
    assert isinstance(call.machine.state, Answered)


def test_an_accept_that_cannot_be_carried_out_refuses_the_caller_and_says_why() -> None:
    call = Call()
    call.takes(ACCEPT)
    outputs = call.takes(AnswerFailed(503, "no RTP port is free"))
    assert outputs[0] == RejectLeg(503)
    assert problem(outputs) == (500, "call_failed")
    assert finished(outputs).detail == "no RTP port is free"


@pytest.mark.parametrize("action", [AcceptAsked(PARAMS, b"", 5), RejectAsked(486, 5), ReferAsked("tel:1", 5)])
def test_after_the_caller_gave_up_the_call_is_unknown(action: CallInput) -> None:
    """The hosted service accepts such calls; its users lose the answer's cost."""
    call = Call()
    assert finished(call.takes(CallerCancelled())).result is Result.CANCELLED
    assert problem(call.takes(action)) == (404, "call_id_not_found")


def test_refer_needs_an_accepted_call() -> None:
    assert problem(Call().takes(ReferAsked("tel:1", 1))) == (400, "call_not_accepted")


def test_a_transfer_is_followed_to_its_success_and_the_leg_is_let_go() -> None:
    call = answered()
    outputs = call.takes(ReferAsked("tel:1", 2))
    assert [type(output) for output in outputs] == [SendRefer, ReportRefer, Reply]
    assert [type(each) for each in call.takes(ReferMoved(202, "Accepted", final=False))] == [ReportRefer]
    assert [type(each) for each in call.takes(ReferMoved(180, "Ringing", final=False))] == [ReportRefer]
    outputs = call.takes(ReferMoved(200, "OK", final=True))
    assert outputs[1] == HangUpLeg("transferred")
    assert finished(outputs).result is Result.TRANSFERRED


@pytest.mark.parametrize("status", [603, None])
def test_a_failed_transfer_is_reported_and_the_call_goes_on(status: int | None) -> None:
    call = answered()
    call.takes(ReferAsked("tel:1", 2))
    (report,) = call.takes(ReferMoved(status, "Declined", final=True))
    assert isinstance(report, ReportRefer)
    assert (report.refer.status, report.refer.succeeded) == (status, False)
    assert isinstance(call.takes(ReferAsked("tel:2", 3))[0], SendRefer)


def test_a_repeated_refer_sends_nothing_twice() -> None:
    call = answered()
    call.takes(ReferAsked("tel:1", 2))
    assert call.takes(ReferAsked("tel:1", 3)) == [Reply(3)]
    assert problem(call.takes(ReferAsked("tel:2", 4))) == (400, "refer_in_progress")


def test_a_bye_during_an_accepted_transfer_means_that_the_trunk_took_over() -> None:
    call = answered()
    call.takes(ReferAsked("tel:1", 2))
    call.takes(ReferMoved(202, "Accepted", final=False))
    assert finished(call.takes(CallerHungUp())).result is Result.TRANSFERRED


@pytest.mark.parametrize("why", ["the peer reports no outcome (Refer-Sub: false)", "no NOTIFY came"])
def test_a_bye_after_an_accepted_transfer_that_nobody_reports_on_means_that_the_trunk_took_over(why: str) -> None:
    call = answered()
    call.takes(ReferAsked("tel:1", 2))
    call.takes(ReferMoved(202, "Accepted", final=False))
    (report,) = call.takes(ReferMoved(None, why, final=True))
    assert isinstance(report, ReportRefer)
    assert (report.refer.status, report.refer.detail, report.refer.final) == (None, why, True)
    assert not report.refer.succeeded
    assert finished(call.takes(CallerHungUp())) == End(Result.TRANSFERRED, By.CALLER, "transferred")


@pytest.mark.parametrize(
    "reports",
    [
        [ReferMoved(202, "Accepted", final=False), ReferMoved(486, "Busy Here", final=True)],
        [ReferMoved(None, "cannot transfer a leg that is Ended", final=True)],
        [ReferMoved(603, "Decline", final=True)],
    ],
)
def test_a_bye_after_a_transfer_that_failed_is_the_callers(reports: list[ReferMoved]) -> None:
    call = answered()
    call.takes(ReferAsked("tel:1", 2))
    for report in reports:
        call.takes(report)
    assert finished(call.takes(CallerHungUp())).reason == "caller_hung_up"


def test_a_bye_before_the_transfer_was_answered_is_the_callers() -> None:
    call = answered()
    call.takes(ReferAsked("tel:1", 2))
    assert finished(call.takes(CallerHungUp("no more"))) == End(
        Result.COMPLETED, By.CALLER, "caller_hung_up", None, "no more"
    )


def test_a_session_ends_at_its_cap_and_zero_is_without_one() -> None:
    call = answered(CallOptions(session_s=3600))
    outputs = call.waits(3601)
    assert outputs[0] == HangUpLeg("session_expired")
    assert finished(outputs).result is Result.COMPLETED
    assert answered(CallOptions(session_s=0)).waits(1e6) == []


@pytest.mark.parametrize(
    ("event", "reason", "says_bye"),
    [
        (MediaLost(30), "media_timeout", True),
        (LegLost("no_ack", "no ACK came in 32 s"), "no_ack", False),
        (BugFound("boom"), "bug", True),
    ],
)
def test_what_fails_ends_the_call_with_its_reason(event: CallInput, reason: str, says_bye: bool) -> None:
    outputs = answered().takes(event)
    end = finished(outputs)
    assert (end.result, end.reason) == (Result.FAILED, reason)
    assert isinstance(outputs[0], HangUpLeg) is says_bye


def test_draining_lets_calls_go_on_up_to_its_end() -> None:
    call = answered()
    assert call.takes(DrainBegan(call.now + 20)) == []
    outputs = call.waits(21)
    assert finished(outputs).reason == "server_stopped"


def test_a_call_that_rang_when_the_drain_began_and_is_accepted_ends_with_the_drain() -> None:
    call = Call(CallOptions(ring_s=30, session_s=3600))
    call.takes(DrainBegan(call.now + 20))
    call.takes(ACCEPT, after_s=5)
    call.takes(LegAnswered())
    assert call.waits(14) == []
    outputs = call.waits(2)
    assert outputs[0] == HangUpLeg("server_stopped")
    assert finished(outputs) == End(Result.COMPLETED, By.SERVER, "server_stopped")


def test_a_call_accepted_during_a_long_drain_still_ends_at_its_cap() -> None:
    call = Call(CallOptions(session_s=60))
    call.takes(DrainBegan(call.now + 3600))
    call.takes(ACCEPT)
    call.takes(LegAnswered())
    assert finished(call.waits(61)).reason == "session_expired"


def test_a_call_that_still_rings_when_the_drain_ends_says_that_the_server_stopped() -> None:
    call = Call(CallOptions(ring_s=30))
    call.takes(DrainBegan(call.now + 3600))
    call.takes(DrainBegan(call.now + 5))
    call.takes(DrainBegan(call.now + 20))
    outputs = call.waits(6)
    assert outputs[0] == RejectLeg(480)
    assert finished(outputs) == End(Result.UNANSWERED, By.SERVER, "server_stopped", 480)


def test_an_ended_call_takes_everything_and_does_nothing() -> None:
    call = Call()
    call.takes(CallerCancelled())
    for event in (
        LegAnswered(),
        CallerHungUp(),
        MediaLost(1),
        LegLost("x", "y"),
        BugFound("z"),
        DrainBegan(1),
        DeadlinePassed(),
        ReferMoved(200, "OK", final=True),
    ):
        assert call.takes(event) == []
    assert call.machine.next_deadline() is None
