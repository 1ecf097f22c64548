"""The transaction layer: matches messages to transactions and runs their tables (RFC 3261 17)."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from offhook.sip.counters import Counters
from offhook.sip.flow import Flow
from offhook.sip.limits import PROVISIONAL_REPEAT_S
from offhook.sip.message import Request, Response, parse_message
from offhook.sip.options import AgentOptions
from offhook.sip.output import Output, Transmit
from offhook.sip.response import encode_response, reconnect_flow, reply_flow, response_head
from offhook.sip.timer import Deadlines
from offhook.sip.transaction import (
    INVITE_CLIENT,
    INVITE_SERVER,
    NON_INVITE_CLIENT,
    NON_INVITE_SERVER,
    Action,
    ClientTransaction,
    ClientUser,
    Inform,
    Input,
    ServerTransaction,
    State,
    Step,
    Transaction,
)

_COOKIE = "z9hG4bK"
_TERMINATED = State.TERMINATED
_AT_ONCE = -inf
"""A timer of zero: D, I, J and K on a reliable transport (RFC 3261 17.1.1.2, 17.2.2)."""


def server_key(request: Request, method: str) -> str:
    """What identifies the server transaction of a request (RFC 3261 17.2.3).

    ``method`` is the request's, or INVITE to find what an ACK or a CANCEL refers to.
    """
    via = request.via
    branch = via.branch if via is not None else ""
    if via is not None and branch.startswith(_COOKIE) and len(branch) > len(_COOKIE):
        return f"{branch} {via.sent_by} {method}"
    # RFC 2543 peers: the To tag is left out, because that of an ACK is the one our response introduced.
    return f"{request.uri} {request.call_id} {request.from_tag} {request.cseq} {method} {request.get('via')}"


def merge_key(request: Request) -> str:
    """What two copies of a request that came on different ways have in common (RFC 3261 8.2.2.2)."""
    return f"{request.call_id} {request.from_tag} {request.cseq} {request.method}"


def derive_request(invite: bytes, method: str, to: str | None = None, extra: str = "") -> bytes:
    """The CANCEL of our INVITE (RFC 3261 9.1), or with the response's To value the ACK of its refusal (17.1.1.3)."""
    request = parse_message(invite)
    lines = [f"{method} {request.uri if isinstance(request, Request) else ''} SIP/2.0"]
    lines.append(f"Via: {request.get('via')}")
    lines += [f"Route: {value}" for value in request.all("route")]
    lines.append("Max-Forwards: 70")
    lines.append(f"From: {request.get('from')}")
    lines.append(f"To: {to if to is not None else request.get('to')}")
    lines.append(f"Call-ID: {request.call_id}")
    lines.append(f"CSeq: {request.cseq} {method}")
    return ("\r\n".join(lines) + f"\r\n{extra}Content-Length: 0\r\n\r\n").encode("utf-8", "surrogateescape")


class TransactionLayer:
    """All transactions of one agent, and the deadlines of everything in it."""

    def __init__(self, options: AgentOptions, counters: Counters) -> None:
        self.options = options
        self.counters = counters
        self.deadlines = Deadlines()
        self.server: dict[str, ServerTransaction] = {}
        self.client: dict[str, ClientTransaction] = {}
        self.merged: dict[str, ServerTransaction] = {}
        self._by_remote: dict[tuple[str, int], set[ClientTransaction]] = {}
        self._open: set[int] = set()
        self._give_up_s = options.give_up_s

    # -- connections -------------------------------------------------------------------------------------------------

    def connection_seen(self, serial: int) -> None:
        """A message came on this connection, so it is open."""
        self._open.add(serial)

    def connection_gone(self, serial: int) -> None:
        """The connection is closed; what goes there from now on needs another way."""
        self._open.discard(serial)

    def is_open(self, flow: Flow) -> bool:
        """Whether something sent on the flow as it stands can arrive."""
        return not flow.connection or flow.connection in self._open

    def fail_flow(self, flow: Flow, now: float, out: list[Output]) -> None:
        """Tell the client transactions that wait for an answer on a dead stream (RFC 3261 17.1.4)."""
        for transaction in list(self._by_remote.get(flow.remote, ())):
            if transaction.flow.connection in (0, flow.connection) or not flow.connection:
                self._transport_error(transaction, now, out)

    def _transport_error(self, transaction: ClientTransaction, now: float, out: list[Output]) -> None:
        fallback = transaction.fallback
        if fallback is not None and transaction.state in (State.CALLING, State.TRYING):
            transaction.fallback = None
            self._unregister_remote(transaction)
            transaction.flow, transaction.sent = fallback
            self._register_remote(transaction)
            self._run(transaction, transaction.machine.initial, now, out)
            return
        self._feed_client(transaction, Input.TRANSPORT_ERROR, None, now, out)

    # -- server side -------------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether no new transaction may be made for a request of a peer."""
        return len(self.server) + len(self.client) >= self.options.max_transactions

    def open_server(
        self, request: Request, key: str, merged_key: str, flow: Flow, now: float, out: list[Output]
    ) -> ServerTransaction:
        """A transaction for a request that matched none; ``merged_key`` is "" for one within a dialog."""
        is_invite = request.method == "INVITE"
        machine = INVITE_SERVER if is_invite else NON_INVITE_SERVER
        head = response_head(request, flow.remote)
        transaction = ServerTransaction(machine, key, reply_flow(request, flow), head)
        if flow.connection:
            transaction.reconnect = reconnect_flow(request, flow)
        self.server[key] = transaction
        if merged_key and merged_key not in self.merged:
            self.merged[merged_key] = transaction
            transaction.merged_key = merged_key
        if is_invite:
            self._run(transaction, machine.initial, now, out)
        return transaction

    def respond(self, transaction: ServerTransaction, status: int, data: bytes, now: float, out: list[Output]) -> None:
        """Send a response through its transaction."""
        if status < 200:
            event = Input.PROVISIONAL
        elif transaction.machine is NON_INVITE_SERVER:
            event = Input.FINAL
        else:
            event = Input.SUCCESS if status < 300 else Input.FAILURE
        step = transaction.machine.steps[transaction.state].get(event)
        if step is None:
            return
        transaction.sent = data
        self._run(transaction, step, now, out)
        if status >= 200:
            transaction.head = transaction.record_route = ""
            transaction.owner = None
            if transaction.state is State.ACCEPTED:
                # The user repeats the 2xx, not the transaction (RFC 6026 7.1).
                transaction.sent = b""

    def feed_server(self, transaction: ServerTransaction, event: Input, now: float, out: list[Output]) -> Inform | None:
        """A request of the same transaction, or its ACK, came."""
        step = transaction.machine.steps[transaction.state].get(event)
        if step is None:
            return None
        self._run(transaction, step, now, out)
        return step.inform

    # -- client side -------------------------------------------------------------------------------------------------

    def send_request(
        self,
        method: str,
        branch: str,
        flow: Flow,
        data: bytes,
        user: ClientUser,
        now: float,
        out: list[Output],
        *,
        fallback: tuple[Flow, bytes] | None = None,
    ) -> ClientTransaction:
        """Send a request other than ACK.

        ``fallback`` is the same request for another flow, tried when a stream fails before any answer: UDP for a
        request that is only too large for a datagram (RFC 3261 18.1.1), a new connection for one sent on an old
        connection.
        """
        machine = INVITE_CLIENT if method == "INVITE" else NON_INVITE_CLIENT
        transaction = ClientTransaction(machine, f"{branch} {method}", flow, user)
        transaction.sent = data
        transaction.fallback = fallback
        self.client[transaction.key] = transaction
        self._register_remote(transaction)
        self._run(transaction, machine.initial, now, out)
        return transaction

    def receive_response(self, response: Response, now: float, out: list[Output]) -> None:
        """Hand a response to its transaction (RFC 3261 17.1.3): branch and method decide; the branch is unguessable."""
        via = response.via
        transaction = self.client.get(f"{via.branch} {response.method}") if via is not None else None
        if transaction is None or len(response.values("via")) != 1:
            self.counters.stray_responses += 1
            return
        status = response.status
        if status < 200:
            event = Input.PROVISIONAL
        elif transaction.machine is NON_INVITE_CLIENT:
            event = Input.FINAL
        else:
            event = Input.SUCCESS if status < 300 else Input.FAILURE
            if (
                event is Input.FAILURE
                and not transaction.acks
                and transaction.state in (State.CALLING, State.PROCEEDING)
            ):
                transaction.acks[""] = (transaction.flow, derive_request(transaction.sent, "ACK", response.get("to")))
        self._feed_client(transaction, event, response, now, out)

    def send_ack(self, transaction: ClientTransaction, tag: str, flow: Flow, data: bytes, out: list[Output]) -> None:
        """Send the ACK of a 2xx and keep it for the repetitions of that 2xx (RFC 3261 13.2.2.4)."""
        transaction.acks[tag] = (flow, data)
        out.append(Transmit(flow, data))

    def repeat_ack(self, transaction: ClientTransaction, tag: str, out: list[Output]) -> None:
        """The 2xx came again: so does its ACK."""
        flow, data = transaction.acks[tag]
        if not self.is_open(flow):
            flow = Flow(flow.transport, flow.remote, flow.local)
        out.append(Transmit(flow, data))

    def give_up_later(self, transaction: ClientTransaction, now: float) -> None:
        """Wait no longer than 64*T1 for the final response to an INVITE whose call is over (RFC 3261 9.1)."""
        if transaction.state is State.PROCEEDING and transaction.end_at == inf:
            transaction.end_at = now + self._give_up_s
            self._schedule(transaction)

    def _feed_client(
        self, transaction: ClientTransaction, event: Input, response: Response | None, now: float, out: list[Output]
    ) -> None:
        step = transaction.machine.steps[transaction.state].get(event)
        if step is None:
            return
        self._run(transaction, step, now, out)
        if step.state in (State.COMPLETED, State.ACCEPTED):
            transaction.sent = b""
            transaction.fallback = None
        if step.inform is Inform.RESPONSE:
            if response is not None:
                transaction.user.answered(transaction, response, now, out)
        elif step.inform is not None:
            transaction.user.failed(transaction, step.inform, now, out)

    # -- the machines ------------------------------------------------------------------------------------------------

    def expire(self, transaction: Transaction, now: float, out: list[Output]) -> None:
        """The transaction's deadline has come."""
        machine = transaction.machine
        ended = transaction.end_at <= now
        event = (machine.end if ended else machine.repeat).get(transaction.state)
        if event is None:
            return
        if ended:
            transaction.end_at = inf
        else:
            transaction.repeat_at = inf
        if isinstance(transaction, ClientTransaction):
            self._feed_client(transaction, event, None, now, out)
        else:
            step = machine.steps[transaction.state].get(event)
            if step is not None:
                self._run(transaction, step, now, out)

    def _run(self, transaction: Transaction, step: Step, now: float, out: list[Output]) -> None:
        transaction.state = step.state
        for action in step.actions:
            set_clock = _CLOCKS.get(action)
            if set_clock is not None:
                set_clock(self, transaction, now)
            else:
                _SENDERS[action](self, transaction, out)
        if transaction.end_at == _AT_ONCE:
            transaction.state = _TERMINATED
        if transaction.state is _TERMINATED:
            self._forget(transaction)
        else:
            self._schedule(transaction)

    def _schedule(self, transaction: Transaction) -> None:
        due = min(transaction.repeat_at, transaction.end_at)
        if due == inf:
            self.deadlines.clear(transaction)
        else:
            self.deadlines.set(transaction, due)

    def _forget(self, transaction: Transaction) -> None:
        self.deadlines.clear(transaction)
        if isinstance(transaction, ServerTransaction):
            self.server.pop(transaction.key, None)
            if transaction.merged_key:
                self.merged.pop(transaction.merged_key, None)
        elif isinstance(transaction, ClientTransaction):
            self.client.pop(transaction.key, None)
            self._unregister_remote(transaction)

    def _register_remote(self, transaction: ClientTransaction) -> None:
        if transaction.flow.transport != "UDP":
            self._by_remote.setdefault(transaction.flow.remote, set()).add(transaction)

    def _unregister_remote(self, transaction: ClientTransaction) -> None:
        waiting = self._by_remote.get(transaction.flow.remote)
        if waiting is not None:
            waiting.discard(transaction)
            if not waiting:
                del self._by_remote[transaction.flow.remote]

    # -- the actions that send -----------------------------------------------------------------------------------------

    def _send(self, t: Transaction, out: list[Output]) -> None:
        if not t.sent:
            return
        if (
            t.flow.connection
            and t.flow.connection not in self._open
            and isinstance(t, ServerTransaction)
            and t.reconnect
        ):
            t.flow = t.reconnect
        out.append(Transmit(t.flow, t.sent))

    def _send_ack(self, t: Transaction, out: list[Output]) -> None:
        if isinstance(t, ClientTransaction) and "" in t.acks:
            out.append(Transmit(*t.acks[""]))

    def _send_provisional(self, t: Transaction, out: list[Output]) -> None:
        if not t.sent and isinstance(t, ServerTransaction):
            t.sent = encode_response(t.head, 100, "Trying")
        self._send(t, out)

    # -- the actions that set a clock ----------------------------------------------------------------------------------

    def _repeat_provisional(self, t: Transaction, now: float) -> None:
        t.repeat_at = now + PROVISIONAL_REPEAT_S

    def _await_provisional(self, t: Transaction, now: float) -> None:
        t.repeat_at = now + self.options.trying_after_s

    def _stop_repeating(self, t: Transaction, _now: float) -> None:
        t.repeat_at = inf

    def _stop(self, t: Transaction, _now: float) -> None:
        t.repeat_at = t.end_at = inf

    def _start_repeating(self, t: Transaction, now: float) -> None:
        t.interval_s = self.options.t1_s
        t.repeat_at = inf if t.flow.transport != "UDP" else now + t.interval_s

    def _double(self, t: Transaction, now: float) -> None:
        t.interval_s *= 2
        t.repeat_at = now + t.interval_s

    def _double_to_t2(self, t: Transaction, now: float) -> None:
        t.interval_s = min(t.interval_s * 2, self.options.t2_s)
        t.repeat_at = now + t.interval_s

    def _slow_to_t2(self, t: Transaction, now: float) -> None:
        if t.flow.transport == "UDP":
            t.interval_s = self.options.t2_s
            t.repeat_at = now + t.interval_s

    def _give_up_later(self, t: Transaction, now: float) -> None:
        t.end_at = now + self._give_up_s

    def _linger(self, t: Transaction, now: float) -> None:
        t.end_at = _AT_ONCE if t.flow.transport != "UDP" else now + self._give_up_s

    def _linger_t4(self, t: Transaction, now: float) -> None:
        t.end_at = _AT_ONCE if t.flow.transport != "UDP" else now + self.options.t4_s


_L = TransactionLayer
_SENDERS: dict[Action, Callable[[TransactionLayer, Transaction, list[Output]], None]] = {
    Action.SEND: _L._send,
    Action.RESEND: _L._send,
    Action.SEND_ACK: _L._send_ack,
    Action.SEND_TRYING: _L._send_provisional,
}
_CLOCKS: dict[Action, Callable[[TransactionLayer, Transaction, float], None]] = {
    Action.AWAIT_PROVISIONAL: _L._await_provisional,
    Action.REPEAT_PROVISIONAL: _L._repeat_provisional,
    Action.STOP_PROVISIONAL: _L._stop_repeating,
    Action.START_A: _L._start_repeating,
    Action.DOUBLE_A: _L._double,
    Action.STOP_A_B: _L._stop,
    Action.START_B: _L._give_up_later,
    Action.START_D: _L._linger,
    Action.START_E: _L._start_repeating,
    Action.DOUBLE_E: _L._double_to_t2,
    Action.SLOW_E: _L._slow_to_t2,
    Action.STOP_E: _L._stop_repeating,
    Action.START_F: _L._give_up_later,
    Action.START_G: _L._start_repeating,
    Action.DOUBLE_G: _L._double_to_t2,
    Action.STOP_G: _L._stop_repeating,
    Action.START_H: _L._give_up_later,
    Action.START_I: _L._linger_t4,
    Action.START_J: _L._linger,
    Action.START_K: _L._linger_t4,
    Action.START_L: _L._give_up_later,
    Action.START_M: _L._give_up_later,
}
