"""The server finds out how many calls it can hold, and refuses the rest."""

from __future__ import annotations

import pytest

from offhook.host.admission import TARGET_BUSY, Admission, Load
from offhook.host.sampler import observe
from offhook.host.weighing import LEAST_COST, Costs


def admit(admission: Admission, calls: int) -> str | None:
    """Let another call come in beside so many, or say why not."""
    if (why := admission.refuse(calls)) is None:
        admission.take()
    return why


class Machine:
    """A machine on which a call costs so much, with callers who try again and again."""

    def __init__(self, cost: float, admission: Admission | None = None) -> None:
        self.cost = cost
        self.calls = 0
        self.admission = admission or Admission(0)

    def run(self, seconds: int, offered_per_s: int = 20, **late_ms: float) -> None:
        for _ in range(seconds):
            for _ in range(offered_per_s):
                if admit(self.admission, self.calls) is None:
                    self.calls += 1
            wanted = self.calls * self.cost
            late = late_ms or {"tick_late_ms": 50.0 if wanted > 1 else 0.0}
            self.admission.observe(Load(min(wanted, 1.0), self.calls, **late))
            # Calls end too: a tenth a second, so that a lower limit shows.
            self.calls -= self.calls // 10


@pytest.mark.parametrize("cost", [0.001, 0.002, 0.01, 0.05])
def test_the_limit_is_what_the_machine_can_hold(cost: float) -> None:
    machine = Machine(cost)
    machine.run(300, offered_per_s=200)
    assert machine.admission.limit == pytest.approx(TARGET_BUSY / cost, rel=0.25, abs=2)


def test_doubling_the_cost_of_a_call_halves_the_limit() -> None:
    limits = []
    for cost in (0.004, 0.008, 0.016):
        machine = Machine(cost)
        machine.run(300, offered_per_s=100)
        limits.append(machine.admission.limit)
    assert limits[0] / limits[1] == pytest.approx(2, rel=0.15)
    assert limits[1] / limits[2] == pytest.approx(2, rel=0.15)


def test_the_limit_follows_when_calls_become_dearer_while_they_run() -> None:
    machine = Machine(0.004)
    machine.run(100, offered_per_s=100)
    before = machine.admission.limit
    machine.cost *= 2
    machine.run(100, offered_per_s=100)
    assert before / machine.admission.limit == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize("late", [{"tick_late_ms": 30.0}, {"loop_late_ms": 300.0}, {"model_wait_ms": 900.0}])
def test_lateness_that_callers_hear_lowers_the_limit_until_it_is_gone(late: dict[str, float]) -> None:
    machine = Machine(0.001)
    machine.run(60, offered_per_s=50)
    held = machine.calls
    machine.run(20, **late)
    assert machine.admission.limit < held * 0.6
    assert machine.admission.reason
    machine.run(300, offered_per_s=100)
    assert machine.admission.reason == ""
    assert machine.admission.limit > held


def test_one_late_second_is_an_accident() -> None:
    admission = Admission(0)
    before = admission.limit
    admission.observe(Load(0.0, 50, tick_late_ms=100))
    assert admission.limit >= before - 1


def test_a_cap_by_configuration_holds() -> None:
    """Users' complaint: a worker could not reliably be capped at one job."""
    admission = Admission(1)
    assert admit(admission, 0) is None
    assert admit(admission, 1) == "1 calls are the limit"
    assert admission.refused == 1


def test_one_call_is_always_taken() -> None:
    machine = Machine(3.0)
    machine.run(100)
    assert machine.admission.limit == 1
    assert admit(machine.admission, 0) is None


def test_short_calls_do_not_pass_for_dear_ones() -> None:
    admission = Admission(0)
    for _ in range(60):
        # 600 calls a second that end at once, 16 at a time, take 90 % of the core.
        admission.observe(Load(0.9, legs=16, opened=600))
    assert admission.limit > 100


def test_calls_that_come_all_at_once_do_not_pass_for_dear_ones() -> None:
    """Fifty calls a second, soon at 0.4 % each, and 2 ms to set each up: the limit stays where it was before."""
    admission = Admission(0)
    for second in range(1, 4):
        admission.observe(Load(50 * second * 0.0032 + 50 * 0.002, legs=50 * second, opened=50))
        assert admission.limit > 160


@pytest.mark.parametrize("offered_per_s", [5, 20, 50])
def test_calls_that_keep_coming_in_do_not_pass_for_cheap_ones(offered_per_s: int) -> None:
    """A call costs four fifths in its first seconds; when all have come to talk, the server is as busy as it may be."""
    admission, opened, cost = Admission(0), [0] * 5, 0.0045
    for _ in range(80):
        came = sum(1 for number in range(offered_per_s) if admit(admission, sum(opened) + number) is None)
        opened.append(came)
        young = sum(opened[-5:])
        admission.observe(Load(cost * (sum(opened) - 0.2 * young) + 0.002 * came, legs=sum(opened), opened=came))
    assert sum(opened) * cost == pytest.approx(TARGET_BUSY, rel=0.08)


def test_calls_that_only_ring_do_not_raise_the_limit() -> None:
    admission = Admission(0)
    before = admission.limit
    for _ in range(60):
        admission.observe(Load(0.0, legs=0))
    assert admission.limit <= before


def test_calls_without_sound_do_not_raise_the_limit_without_end() -> None:
    admission = Admission(0)
    for _ in range(300):
        admission.observe(Load(0.001, legs=500))
    assert admission.limit <= TARGET_BUSY / LEAST_COST


def test_an_idle_machine_that_was_suspended_takes_a_burst_of_calls() -> None:
    admission = Admission(0)
    for _ in range(5):
        admission.observe(Load(0.0, loop_late_ms=4000.0))
    assert all(admit(admission, calls) is None for calls in range(4))
    for _ in range(20):
        admission.observe(Load(0.0))
    assert all(admit(admission, calls) is None for calls in range(20))


def test_calls_that_are_over_at_once_are_not_refused_for_audio_that_nobody_hears_late() -> None:
    """A thousand calls a second that hang up as soon as they are answered make audio late, and hear none."""
    admission = Admission(0)
    for _ in range(60):
        admission.observe(Load(0.99, legs=16, opened=1000, stayed=0, tick_late_ms=25.0))
        assert all(admit(admission, calls) is None for calls in range(16))
    assert admission.reason == ""


class Flood:
    """Calls that are held, and others that come and go by hundreds and make those late."""

    def __init__(self) -> None:
        self.admission = Admission(0)
        self.taken = 0

    def run(self, seconds: int, *, offered_per_s: int, held: int = 40) -> None:
        for _ in range(seconds):
            self.taken = sum(admit(self.admission, held) is None for _ in range(offered_per_s))
            busy = held * 0.004 + self.taken * 0.001
            late = 30.0 if busy > 0.6 else 1.0
            load = Load(min(busy, 1.0), legs=held, opened=self.taken, stayed=held, tick_late_ms=late)
            self.admission.observe(load)


def test_a_flood_of_short_calls_is_slowed_down_and_those_who_talk_are_kept() -> None:
    flood = Flood()
    flood.run(60, offered_per_s=1000)
    admission = flood.admission
    assert 300 < flood.taken < 600, "as many as leave the others on time"
    assert admission.limit > 100, "what is held did not make it late"
    assert "audio" in admission.reason


def test_when_the_flood_is_over_nothing_of_it_is_left() -> None:
    flood = Flood()
    flood.run(60, offered_per_s=1000)
    flood.run(120, offered_per_s=5)
    assert flood.admission.setups_limit is None
    assert flood.admission.reason == ""
    assert flood.taken == 5


def test_some_new_calls_a_second_are_taken_however_late_it_is() -> None:
    admission = Admission(0)
    for _ in range(200):
        admission.observe(Load(0.9, legs=20, opened=400, stayed=20, tick_late_ms=80.0))
    assert [admit(admission, 20) for _ in range(10)] == [None] * 10
    assert admit(admission, 20) == "10 new calls a second are the limit"
    assert admission.refused == 1


def test_a_noisy_neighbour_who_costs_nobody_a_packet_does_not_lower_the_limit() -> None:
    admission = Admission(0)
    before = admission.limit
    for _ in range(60):
        admission.observe(Load(0.2, legs=50, stayed=50, tick_late_ms=17.0))
    assert admission.limit >= before
    assert admission.reason == ""


def test_a_small_share_of_a_processor_is_found_out_by_the_gaps_it_makes() -> None:
    """A container may have a fifth of a core: its calls wait for 80 of every 100 ms."""
    admission = Admission(0)
    held: list[int] = []
    for _ in range(120):
        held.append(min(100, admission.limit))
        wanted = held[-1] * 0.004
        late_ms = 80.0 if wanted > 0.2 else 5.0
        admission.observe(Load(min(wanted, 0.2), held[-1], stayed=held[-1], tick_late_ms=late_ms))
    assert sum(held[60:]) / 60 == pytest.approx(50, rel=0.2), "what a fifth of a core can hold"


class Sessions:
    """Sessions on sockets of their own, beside calls."""

    def __init__(self, costs: Costs) -> None:
        self.admission = Admission(0, "sessions", costs=costs)
        self.total = 0
        self.held = 0

    def __len__(self) -> int:
        return self.held


def run_beside(seconds: int, calls: Admission, sessions: Sessions, *, call: float, session: float) -> None:
    """Calls and sessions come and go, each kind in its own time; both end with forty."""
    for second in range(seconds, 0, -1):
        legs, sessions.held = 40 + second * 7 % 60, 40 + second * 11 % 90
        load = Load(busy=legs * call + sessions.held * session + 0.02, legs=legs)
        observe(calls, load, sessions, 0)


@pytest.mark.parametrize(("call", "session"), [(0.002, 0.004), (0.004, 0.001), (0.003, 0.003)])
def test_calls_and_sessions_are_each_charged_with_what_they_cost(call: float, session: float) -> None:
    calls = Admission(0)
    sessions = Sessions(calls.costs)
    for _ in range(10):
        observe(calls, Load(busy=0.02), sessions, 0)
    run_beside(200, calls, sessions, call=call, session=session)
    assert calls.cost == pytest.approx(call, rel=0.25)
    assert sessions.admission.cost == pytest.approx(session, rel=0.25)


def test_what_sessions_take_is_no_room_for_calls() -> None:
    calls = Admission(0)
    sessions = Sessions(calls.costs)
    limits = []
    for sessions.held in (0, 60, 120):
        for _ in range(60):
            observe(calls, Load(busy=50 * 0.002 + sessions.held * 0.003, legs=50), sessions, 0)
        limits.append(calls.limit)
    assert limits[0] - limits[1] == pytest.approx(60 * 1.5, rel=0.35)
    assert limits[1] - limits[2] == pytest.approx(60 * 1.5, rel=0.35)


def test_a_late_server_takes_fewer_sessions_and_says_so() -> None:
    calls = Admission(0)
    sessions = Sessions(calls.costs)
    sessions.held = 100
    for _ in range(10):
        observe(calls, Load(busy=0.9, loop_late_ms=400.0), sessions, 0)
    assert sessions.admission.limit < 60
    assert admit(sessions.admission, 100) == "100 sessions are the limit"
    assert "event loop" in sessions.admission.reason


def test_an_idle_server_that_was_late_has_room_for_all_that_it_had() -> None:
    """Lateness that no call makes is no reason to refuse calls."""
    admission = Admission(0)
    before = admission.limit
    for _ in range(5):
        admission.observe(Load(0.3, loop_late_ms=400.0))
    assert admission.limit >= before * 0.9
    assert admission.reason == ""


def test_lateness_is_made_up_for_by_those_who_make_more_of_it() -> None:
    calls = Admission(0)
    sessions = Sessions(calls.costs)
    before = calls.limit
    sessions.held = 150
    for _ in range(5):
        observe(calls, Load(busy=0.9, legs=2, loop_late_ms=400.0), sessions, 0)
    assert sessions.admission.reason
    assert calls.reason == ""
    assert calls.limit < before, "for want of room only"


@pytest.mark.parametrize("busy_before", [0.3, 0.9])
def test_what_kept_a_server_busy_before_its_calls_is_not_taken_to_stay(busy_before: float) -> None:
    admission = Admission(0)
    for _ in range(20):
        admission.observe(Load(busy_before))
    for _ in range(10):
        admission.observe(Load(40 * 0.004, legs=40))
    assert admission.limit == pytest.approx(TARGET_BUSY / 0.004, rel=0.45)


def test_calls_that_are_refused_for_other_reasons_are_no_new_calls() -> None:
    """Scanners that call nobody's number must not use up what callers may."""
    admission = Admission(0)
    for _ in range(200):
        admission.observe(Load(0.9, legs=20, opened=400, stayed=20, tick_late_ms=80.0))
    assert [admission.refuse(20) for _ in range(50)] == [None] * 50


@pytest.mark.parametrize("beside", [0, 50])
@pytest.mark.parametrize("cost", [0.05, 0.0007])
def test_what_calls_cost_is_known_after_a_quiet_hour(cost: float, beside: int) -> None:
    """A burst after a pause is judged by what calls cost before it, whether or not sessions were there meanwhile."""
    calls = Admission(0)
    sessions = Sessions(calls.costs)
    for second in range(60):
        legs = 60 + second % 5
        observe(calls, Load(legs * cost + 0.002 * (second % 3), legs=legs, opened=second % 3), sessions, 0)
    before = calls.cost
    assert before == pytest.approx(cost, rel=0.25)
    sessions.held = beside
    for _ in range(3600):
        observe(calls, Load(beside * 0.002), sessions, 0)
    assert calls.cost == before
