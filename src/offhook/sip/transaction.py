"""The four transactions of SIP as tables (RFC 3261 17, RFC 6026).

Each machine is ``state -> input -> Step(next state, actions, what the user hears)``. An input without a step in a state
is ignored, as the RFC's figures do. A transaction has two clocks, one that repeats and one that ends; starting a timer
that uses the same clock replaces the other (H by I, F by K). ``mermaid(machine)`` draws the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import inf
from typing import Protocol

import msgspec

from offhook.sip.flow import Flow
from offhook.sip.message import Response
from offhook.sip.output import Output
from offhook.sip.timer import Timed


class State(StrEnum):
    """The states of RFC 3261 figures 5 to 8, with the Accepted state of RFC 6026."""

    CALLING = "Calling"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    ACCEPTED = "Accepted"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    TERMINATED = "Terminated"


class Input(StrEnum):
    """What can happen to a transaction. For a server, responses come from the user; for a client, from the network."""

    REQUEST = "same request again"
    ACK = "ACK"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    FINAL = "200-699"
    TRANSPORT_ERROR = "transport error"
    PROVISIONAL_DUE = "provisional response due"
    GIVEN_UP = "64*T1 after CANCEL or BYE"
    TIMER_A = "timer A"
    TIMER_B = "timer B"
    TIMER_D = "timer D"
    TIMER_E = "timer E"
    TIMER_F = "timer F"
    TIMER_G = "timer G"
    TIMER_H = "timer H"
    TIMER_I = "timer I"
    TIMER_J = "timer J"
    TIMER_K = "timer K"
    TIMER_L = "timer L"
    TIMER_M = "timer M"


class Action(StrEnum):
    """What a transaction does on its way to the next state."""

    SEND = "send it"
    RESEND = "send the last message again"
    SEND_ACK = "send ACK"
    SEND_TRYING = "send 100, or the last provisional response again"
    AWAIT_PROVISIONAL = "a provisional response is due after 200 ms"
    REPEAT_PROVISIONAL = "it is due again after a minute"
    START_A = "start A"
    DOUBLE_A = "double A"
    STOP_A_B = "stop A and B"
    START_B = "start B"
    START_D = "start D"
    START_E = "start E"
    DOUBLE_E = "double E up to T2"
    SLOW_E = "set E to T2"
    STOP_E = "stop E"
    START_F = "start F"
    START_G = "start G"
    DOUBLE_G = "double G up to T2"
    STOP_G = "stop G"
    START_H = "start H"
    START_I = "start I"
    START_J = "start J"
    START_K = "start K"
    START_L = "start L"
    START_M = "start M"
    STOP_PROVISIONAL = "no provisional response is due"


class Inform(StrEnum):
    """What the transaction's user hears."""

    RESPONSE = "response"
    TIMEOUT = "timeout"
    TRANSPORT_ERROR = "transport error"
    ACK = "ACK"


class Step(msgspec.Struct, frozen=True):
    """One arrow of a figure."""

    state: State
    actions: tuple[Action, ...] = ()
    inform: Inform | None = None


class Machine(msgspec.Struct, frozen=True):
    """One figure: the first state and its actions, the arrows, and which timers the two clocks mean in each state."""

    name: str
    source: str
    initial: Step
    steps: Mapping[State, Mapping[Input, Step]]
    repeat: Mapping[State, Input]
    end: Mapping[State, Input]


_S, _I, _A, _T = State, Input, Action, Inform

INVITE_CLIENT = Machine(
    name="INVITE client transaction",
    source="RFC 3261 17.1.1 figure 5, RFC 6026 8.4; the end of a cancelled INVITE: RFC 3261 9.1",
    initial=Step(_S.CALLING, (_A.SEND, _A.START_A, _A.START_B)),
    steps={
        _S.CALLING: {
            _I.TIMER_A: Step(_S.CALLING, (_A.RESEND, _A.DOUBLE_A)),
            _I.TIMER_B: Step(_S.TERMINATED, (), _T.TIMEOUT),
            _I.PROVISIONAL: Step(_S.PROCEEDING, (_A.STOP_A_B,), _T.RESPONSE),
            _I.SUCCESS: Step(_S.ACCEPTED, (_A.STOP_A_B, _A.START_M), _T.RESPONSE),
            _I.FAILURE: Step(_S.COMPLETED, (_A.STOP_A_B, _A.SEND_ACK, _A.START_D), _T.RESPONSE),
            _I.TRANSPORT_ERROR: Step(_S.TERMINATED, (), _T.TRANSPORT_ERROR),
        },
        _S.PROCEEDING: {
            _I.PROVISIONAL: Step(_S.PROCEEDING, (), _T.RESPONSE),
            _I.SUCCESS: Step(_S.ACCEPTED, (_A.START_M,), _T.RESPONSE),
            _I.FAILURE: Step(_S.COMPLETED, (_A.SEND_ACK, _A.START_D), _T.RESPONSE),
            _I.GIVEN_UP: Step(_S.TERMINATED, (), _T.TIMEOUT),
        },
        _S.COMPLETED: {
            _I.FAILURE: Step(_S.COMPLETED, (_A.SEND_ACK,)),
            _I.TIMER_D: Step(_S.TERMINATED),
            _I.TRANSPORT_ERROR: Step(_S.TERMINATED),
        },
        _S.ACCEPTED: {
            _I.SUCCESS: Step(_S.ACCEPTED, (), _T.RESPONSE),
            _I.TIMER_M: Step(_S.TERMINATED),
        },
    },
    repeat={_S.CALLING: _I.TIMER_A},
    end={
        _S.CALLING: _I.TIMER_B,
        _S.PROCEEDING: _I.GIVEN_UP,
        _S.COMPLETED: _I.TIMER_D,
        _S.ACCEPTED: _I.TIMER_M,
    },
)

NON_INVITE_CLIENT = Machine(
    name="non-INVITE client transaction",
    source="RFC 3261 17.1.2 figure 6",
    initial=Step(_S.TRYING, (_A.SEND, _A.START_E, _A.START_F)),
    steps={
        _S.TRYING: {
            _I.TIMER_E: Step(_S.TRYING, (_A.RESEND, _A.DOUBLE_E)),
            _I.TIMER_F: Step(_S.TERMINATED, (), _T.TIMEOUT),
            _I.PROVISIONAL: Step(_S.PROCEEDING, (_A.SLOW_E,), _T.RESPONSE),
            _I.FINAL: Step(_S.COMPLETED, (_A.STOP_E, _A.START_K), _T.RESPONSE),
            _I.TRANSPORT_ERROR: Step(_S.TERMINATED, (), _T.TRANSPORT_ERROR),
        },
        _S.PROCEEDING: {
            _I.TIMER_E: Step(_S.PROCEEDING, (_A.RESEND, _A.SLOW_E)),
            _I.TIMER_F: Step(_S.TERMINATED, (), _T.TIMEOUT),
            _I.PROVISIONAL: Step(_S.PROCEEDING, (), _T.RESPONSE),
            _I.FINAL: Step(_S.COMPLETED, (_A.STOP_E, _A.START_K), _T.RESPONSE),
            _I.TRANSPORT_ERROR: Step(_S.TERMINATED, (), _T.TRANSPORT_ERROR),
        },
        _S.COMPLETED: {_I.TIMER_K: Step(_S.TERMINATED)},
    },
    repeat={_S.TRYING: _I.TIMER_E, _S.PROCEEDING: _I.TIMER_E},
    end={_S.TRYING: _I.TIMER_F, _S.PROCEEDING: _I.TIMER_F, _S.COMPLETED: _I.TIMER_K},
)

INVITE_SERVER = Machine(
    name="INVITE server transaction",
    source="RFC 3261 17.2.1 figure 7, RFC 6026 7.1; provisional responses every minute: RFC 3261 13.3.1.1",
    initial=Step(_S.PROCEEDING, (_A.AWAIT_PROVISIONAL,)),
    steps={
        _S.PROCEEDING: {
            _I.REQUEST: Step(_S.PROCEEDING, (_A.RESEND,)),
            _I.PROVISIONAL_DUE: Step(_S.PROCEEDING, (_A.SEND_TRYING, _A.REPEAT_PROVISIONAL)),
            _I.PROVISIONAL: Step(_S.PROCEEDING, (_A.SEND, _A.REPEAT_PROVISIONAL)),
            _I.SUCCESS: Step(_S.ACCEPTED, (_A.SEND, _A.STOP_PROVISIONAL, _A.START_L)),
            _I.FAILURE: Step(_S.COMPLETED, (_A.SEND, _A.START_G, _A.START_H)),
        },
        _S.ACCEPTED: {
            _I.SUCCESS: Step(_S.ACCEPTED, (_A.SEND,)),
            _I.ACK: Step(_S.ACCEPTED, (), _T.ACK),
            _I.REQUEST: Step(_S.ACCEPTED),
            _I.TIMER_L: Step(_S.TERMINATED),
        },
        _S.COMPLETED: {
            _I.REQUEST: Step(_S.COMPLETED, (_A.RESEND,)),
            _I.TIMER_G: Step(_S.COMPLETED, (_A.RESEND, _A.DOUBLE_G)),
            _I.ACK: Step(_S.CONFIRMED, (_A.STOP_G, _A.START_I)),
            _I.TIMER_H: Step(_S.TERMINATED, (), _T.TIMEOUT),
        },
        _S.CONFIRMED: {
            _I.REQUEST: Step(_S.CONFIRMED),
            _I.ACK: Step(_S.CONFIRMED),
            _I.TIMER_I: Step(_S.TERMINATED),
        },
    },
    repeat={_S.PROCEEDING: _I.PROVISIONAL_DUE, _S.COMPLETED: _I.TIMER_G},
    end={_S.ACCEPTED: _I.TIMER_L, _S.COMPLETED: _I.TIMER_H, _S.CONFIRMED: _I.TIMER_I},
)

NON_INVITE_SERVER = Machine(
    name="non-INVITE server transaction",
    source="RFC 3261 17.2.2 figure 8",
    initial=Step(_S.TRYING),
    steps={
        _S.TRYING: {
            _I.REQUEST: Step(_S.TRYING),
            _I.PROVISIONAL: Step(_S.PROCEEDING, (_A.SEND,)),
            _I.FINAL: Step(_S.COMPLETED, (_A.SEND, _A.START_J)),
        },
        _S.PROCEEDING: {
            _I.REQUEST: Step(_S.PROCEEDING, (_A.RESEND,)),
            _I.PROVISIONAL: Step(_S.PROCEEDING, (_A.SEND,)),
            _I.FINAL: Step(_S.COMPLETED, (_A.SEND, _A.START_J)),
        },
        _S.COMPLETED: {
            _I.REQUEST: Step(_S.COMPLETED, (_A.RESEND,)),
            _I.FINAL: Step(_S.COMPLETED),
            _I.TIMER_J: Step(_S.TERMINATED),
        },
    },
    repeat={},
    end={_S.COMPLETED: _I.TIMER_J},
)

MACHINES = (INVITE_CLIENT, NON_INVITE_CLIENT, INVITE_SERVER, NON_INVITE_SERVER)


class Transaction(Timed):
    """The state and clocks of one transaction. ``sent`` is the last message, as long as it may have to be repeated."""

    __slots__ = ("end_at", "flow", "interval_s", "key", "machine", "repeat_at", "sent", "state")

    def __init__(self, machine: Machine, key: str, flow: Flow) -> None:
        self.due = self.queued = self.repeat_at = self.end_at = inf
        self.machine = machine
        self.key = key
        self.flow = flow
        self.state = machine.initial.state
        self.sent = b""
        self.interval_s = 0.0


class ServerTransaction(Transaction):
    """A request of the peer and our response to it.

    ``head`` is what every response repeats of the request; it is dropped with the final response. ``record_route`` are
    the lines that a response which forms a dialog repeats too. ``merged_key`` finds copies that came another way (RFC
    3261 8.2.2.2). ``to_tag`` is ours, when the request had none. ``reconnect`` is where a response goes when the
    connection of a stream is closed.
    """

    __slots__ = ("head", "merged_key", "owner", "reconnect", "record_route", "to_tag")

    def __init__(self, machine: Machine, key: str, flow: Flow, head: str) -> None:
        super().__init__(machine, key, flow)
        self.head = head
        self.record_route = ""
        self.merged_key = ""
        self.reconnect: Flow | None = None
        self.to_tag = ""
        self.owner: object | None = None

    def set_to_tag(self, tag: str) -> None:
        """Give the responses our tag; the request had none (RFC 3261 8.2.6.2)."""
        self.to_tag = tag
        self.head = f"{self.head};tag={tag}"


class ClientUser(Protocol):
    """Who hears what became of a request of ours."""

    def answered(self, transaction: ClientTransaction, response: Response, now: float, out: list[Output], /) -> None:
        """A response came: 1xx any number of times, a final one once, a 2xx to INVITE as often as it comes."""

    def failed(self, transaction: ClientTransaction, inform: Inform, now: float, out: list[Output], /) -> None:
        """No final response will come."""


class ClientTransaction(Transaction):
    """A request of ours. ``fallback`` is the same request for another flow, for when the stream fails.

    ``acks`` holds for an INVITE the ACK of each answered branch by its To tag, to be sent again for every repeated 2xx;
    the ACK of a refusal is under "".
    """

    __slots__ = ("acks", "fallback", "user")

    def __init__(self, machine: Machine, key: str, flow: Flow, user: ClientUser) -> None:
        super().__init__(machine, key, flow)
        self.user = user
        self.fallback: tuple[Flow, bytes] | None = None
        self.acks: dict[str, tuple[Flow, bytes]] = {}


def mermaid(machine: Machine) -> str:
    """The machine as the text of a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    %% {machine.name}, {machine.source}"]
    start = ", ".join(machine.initial.actions)
    lines.append(f"    [*] --> {machine.initial.state}" + (f" : {start}" if start else ""))
    for state, row in machine.steps.items():
        for event, step in row.items():
            done = list(step.actions) + ([f"tell the user ({step.inform})"] if step.inform else [])
            target = "[*]" if step.state is State.TERMINATED else step.state
            lines.append(f"    {state} --> {target} : {event}" + (f" / {', '.join(done)}" if done else ""))
    return "\n".join(lines) + "\n"
