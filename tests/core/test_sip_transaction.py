"""The tables of the four transactions, and the deadlines under them."""

from __future__ import annotations

import random
from math import inf

import pytest

from offhook.sip.layer import _CLOCKS, _SENDERS
from offhook.sip.timer import Deadlines, Timed
from offhook.sip.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    MACHINES,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Action,
    Input,
    Machine,
    State,
    mermaid,
)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_is_reached_and_can_be_left(machine: Machine) -> None:
    reached = {machine.initial.state} | {step.state for row in machine.steps.values() for step in row.values()}
    assert reached == set(machine.steps) | {State.TERMINATED}
    for state, row in machine.steps.items():
        seen, todo = set(), {state}
        while todo:
            here = todo.pop()
            seen.add(here)
            todo |= {step.state for step in machine.steps.get(here, row if here == state else {}).values()} - seen
        assert State.TERMINATED in seen


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_clock_that_can_ring_has_a_step(machine: Machine) -> None:
    for clock in (machine.repeat, machine.end):
        for state, event in clock.items():
            assert event in machine.steps[state]


def test_every_action_is_performed_by_someone() -> None:
    assert set(_CLOCKS) | set(_SENDERS) == set(Action)
    used = {action for m in MACHINES for row in m.steps.values() for step in row.values() for action in step.actions}
    used |= {action for machine in MACHINES for action in machine.initial.actions}
    assert used == set(Action)


def test_tables_say_what_the_rfcs_say() -> None:
    assert INVITE_CLIENT.steps[State.CALLING][Input.SUCCESS].state is State.ACCEPTED, "RFC 6026 8.4"
    assert INVITE_CLIENT.steps[State.ACCEPTED][Input.SUCCESS].inform is not None, "RFC 6026: every 2xx goes up"
    assert Input.FAILURE not in INVITE_CLIENT.steps[State.ACCEPTED]
    assert INVITE_SERVER.steps[State.PROCEEDING][Input.SUCCESS].state is State.ACCEPTED
    assert INVITE_SERVER.steps[State.ACCEPTED][Input.REQUEST].actions == (), "RFC 6026: copies are absorbed"
    assert INVITE_SERVER.steps[State.COMPLETED][Input.ACK].state is State.CONFIRMED
    assert NON_INVITE_CLIENT.steps[State.PROCEEDING][Input.TIMER_E].actions == (Action.RESEND, Action.SLOW_E)
    assert NON_INVITE_SERVER.steps[State.TRYING][Input.REQUEST].actions == ()
    assert NON_INVITE_SERVER.steps[State.COMPLETED][Input.REQUEST].actions == (Action.RESEND,)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_mermaid_draws_every_arrow(machine: Machine) -> None:
    text = mermaid(machine)
    assert text.startswith("stateDiagram-v2\n")
    arrows = [line for line in text.splitlines() if "-->" in line]
    assert len(arrows) == 1 + sum(len(row) for row in machine.steps.values())
    assert machine.source in text
    assert "Terminated" not in text.replace(machine.source, "")


def test_deadlines_come_in_order_and_may_be_moved() -> None:
    deadlines, one, two = Deadlines(), Timed(), Timed()
    deadlines.set(one, 5.0)
    deadlines.set(two, 3.0)
    assert deadlines.next() == 3.0
    deadlines.set(two, 9.0)
    assert deadlines.next() == 5.0
    deadlines.set(one, 1.0)
    assert deadlines.next() == 1.0
    assert deadlines.pop_due(0.5) is None
    assert deadlines.pop_due(1.0) is one
    assert one.due == inf
    assert deadlines.next() == 9.0
    deadlines.clear(two)
    assert deadlines.next() is None
    assert deadlines.pop_due(100.0) is None


def test_deadlines_against_a_plain_list() -> None:
    rng = random.Random(3)
    deadlines, things = Deadlines(), [Timed() for _ in range(50)]
    expected: dict[int, float] = {}
    now = 0.0
    for _ in range(20_000):
        index = rng.randrange(50)
        match rng.randrange(4):
            case 0 | 1:
                due = now + rng.randrange(100) / 10
                deadlines.set(things[index], due)
                expected[index] = due
            case 2:
                deadlines.clear(things[index])
                expected.pop(index, None)
            case _:
                now += rng.randrange(20) / 10
                due_now = sorted(number for number, due in expected.items() if due <= now)
                popped = []
                while (timed := deadlines.pop_due(now)) is not None:
                    popped.append(things.index(timed))
                assert sorted(popped) == due_now
                for number in due_now:
                    del expected[number]
        assert deadlines.next() == (min(expected.values()) if expected else None)


def test_cleared_deadlines_do_not_pile_up() -> None:
    deadlines = Deadlines()
    keep = [Timed() for _ in range(10)]
    for timed in keep:
        deadlines.set(timed, 1000.0)
    for number in range(50_000):
        timed = Timed()
        deadlines.set(timed, 500.0 + number)
        deadlines.clear(timed)
    assert len(deadlines) < 3000
    assert deadlines.next() == 1000.0
