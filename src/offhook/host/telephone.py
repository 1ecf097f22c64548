"""Between the SIP agent and the owners of calls: outputs of one become inputs of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from offhook.call import machine as happened
from offhook.errors import ApiProblem, LocalError, RemoteError
from offhook.host.invitation import Invitation
from offhook.host.line import LineError
from offhook.net.sip import SipTransport
from offhook.session.inputs import DigitPressed
from offhook.sip import output as sip
from offhook.sip.errors import SipParseError
from offhook.sip.flow import hostport
from offhook.sip.inspection import Refusal
from offhook.sip.leg import Leg
from offhook.sip.response import warning
from offhook.sip.sdp import read_offer
from offhook.sip.uri import SipUri, parse_uri
from offhook.telemetry.log import FactLog

if TYPE_CHECKING:
    from offhook.host.directory import Directory
    from offhook.host.owner import CallOwner

DIGITS = frozenset("0123456789*#ABCD")
NO_PROJECT = "the request URI names no project"


class Telephone:
    """The SIP side of all calls: what the agent tells goes to the owner of the call, what owners want to the agent."""

    def __init__(
        self, *, retry_after_s: int, clock: Callable[[], float], wall_s: Callable[[], float], log: FactLog
    ) -> None:
        self._retry_after_s = retry_after_s
        self._clock = clock
        self._wall_s = wall_s
        self._log = log
        self._owners: dict[str, CallOwner] = {}
        self._transport: SipTransport | None = None
        self._directory: Directory | None = None
        self.quiet = asyncio.Event()
        """Set while no leg is left, not even one whose BYE is still to be answered."""
        self.quiet.set()

    def connect(self, transport: SipTransport, directory: Directory) -> None:
        """Join the network to the calls; before this, nothing may come in."""
        self._transport = transport
        self._directory = directory

    # -- from the agent

    def take(self, output: sip.Output) -> None:
        """Take what the agent tells."""
        match output:
            case sip.Invited(leg=leg):
                self._invited(output)
            case sip.Rejected(source=source, status=0, method=method, why=why):
                self._log.info("request dropped", method=method or None, why=why, source=hostport(source))
            case sip.Rejected(source=source, status=status, method=method, why=why):
                self._log.info("request refused", method=method, status=status, why=why, source=hostport(source))
            case sip.Transmit():
                pass
            case _:
                leg = output.leg
                owner = self._owners.get(leg.id)
                if owner is not None:
                    self._tell(owner, leg, output)

    def _invited(self, invited: sip.Invited) -> None:
        leg, request, directory = invited.leg, invited.request, self._directory
        if directory is None:
            return
        if (why := directory.refuse()) is not None:
            self._refuse(leg, 503, why)
            return
        project = directory.projects.only or directory.projects.of_user(_user_of(request.uri))
        if project is None:
            self._refuse(leg, 404, NO_PROJECT)
            return
        try:
            offer = read_offer(invited.offer) if invited.offer is not None else None
        except RemoteError as failure:
            self._refuse(leg, 488, str(failure))
            return
        try:
            owner = directory.welcome(Invitation(leg, request, offer), project)
        except ApiProblem as problem:
            self._refuse(leg, 500, problem.message)
            return
        if not owner.ended:
            self._owners[leg.id] = owner
            self.quiet.clear()

    def would_refuse(self, request_uri: str) -> Refusal | None:
        """Say how a call for this URI would be refused now: what a trunk asks by OPTIONS.

        A URI without a user part asks for the server, not for a project.
        """
        directory = self._directory
        if directory is None:
            return None  # Nothing comes in before they are connected.
        if (why := directory.full()) is not None:
            return Refusal(503, why, f"Retry-After: {self._retry_after_s}\r\n")
        user = _user_of(request_uri)
        if user is not None and directory.projects.of_user(user) is None:
            return Refusal(404, NO_PROJECT)
        return None

    def _refuse(self, leg: Leg, status: int, why: str) -> None:
        source = hostport(leg.dialog.flow.remote) if leg.dialog is not None else None
        self._log.info("call refused", status=status, why=why, source=source, sip_call_id=leg.call_id)
        if (transport := self._transport) is None:
            return
        agent, now = transport.agent, self._clock()
        if status == 503:
            # How many calls we can hold is nobody's business: only when to try again.
            transport.perform(agent.reject(leg, status, now, retry_after_s=self._retry_after_s))
        else:
            transport.perform(agent.reject(leg, status, now, headers=[warning(why)]))

    def _tell(self, owner: CallOwner, leg: Leg, output: sip.Output) -> None:
        match output:
            case sip.Cancelled():
                owner.take(happened.CallerCancelled())
            case sip.HungUp(reason=reason):
                owner.take(happened.CallerHungUp(reason or ""))
            case sip.LegLost(cause=cause):
                owner.take(happened.LegLost("leg_lost", cause))
            case sip.Confirmed(body=body) if body is not None:
                self._confirm(owner, body)
            case sip.Reoffered(body=body):
                self._reoffer(owner, leg, body)
            case sip.ReferAnswered(status=status, reason=reason) if status < 300:
                owner.take(happened.ReferMoved(status, reason, final=False))
            case sip.ReferProgressed(status=status, reason=reason):
                owner.take(happened.ReferMoved(status, reason, final=False))
            case sip.ReferEnded(status=outcome, reason=reason):
                owner.take(happened.ReferMoved(outcome, reason, final=True))
            case sip.InfoReceived(content_type=content_type, body=body):
                digit = digit_of_info(content_type, body)
                if digit is not None:
                    owner.take(DigitPressed(digit, int(self._wall_s())))
            case _:
                pass
        if isinstance(output, sip.Cancelled | sip.HungUp | sip.LegLost | sip.Released):
            self._owners.pop(leg.id, None)
            if not self._owners:
                self.quiet.set()

    def _confirm(self, owner: CallOwner, body: bytes) -> None:
        """The caller answered the offer that we made, since its INVITE had none."""
        if owner.line is None:
            return
        try:
            owner.line.confirm(body)
        except LineError as failure:
            owner.take(happened.LegLost("no_common_codec", failure.detail))
            self.hang_up(owner.invitation.leg, "no_common_codec")
            return
        owner.held_or_resumed()

    def _reoffer(self, owner: CallOwner, leg: Leg, body: bytes | None) -> None:
        """Hold, resume, a session timer's refresh, or new addresses: always answered."""
        transport, line = self._transport, owner.line
        if transport is None or line is None:
            return
        try:
            description = line.reoffer(body)
        except LineError as failure:
            owner.log.info("change of the call refused", status=failure.status, why=failure.detail)
            why = [warning(failure.detail)]
            transport.perform(transport.agent.answer_offer(leg, None, self._clock(), failure.status, why))
            return
        transport.perform(transport.agent.answer_offer(leg, description, self._clock()))
        owner.held_or_resumed()

    # -- from the owners

    def ring(self, leg: Leg) -> None:
        """Let the caller hear that it rings."""
        if (transport := self._transport) is not None:
            transport.perform(transport.agent.ring(leg, self._clock()))

    def answer(self, leg: Leg, description: bytes) -> None:
        """Send 200 OK with our session description."""
        if (transport := self._transport) is not None:
            transport.perform(transport.agent.answer(leg, description, self._clock()))

    def reject(self, leg: Leg, status: int) -> None:
        """Refuse a call that rings."""
        if (transport := self._transport) is not None:
            retry_after_s = self._retry_after_s if status == 503 else None
            transport.perform(transport.agent.reject(leg, status, self._clock(), retry_after_s=retry_after_s))

    def hang_up(self, leg: Leg, reason: str) -> None:
        """End a call, with a Reason header that says why (RFC 3326)."""
        if (transport := self._transport) is not None:
            header = f'SIP;cause=200;text="{reason}"'
            transport.perform(transport.agent.hang_up(leg, self._clock(), reason=header))

    def refer(self, leg: Leg, target: str) -> None:
        """Ask the caller's side to call somebody else."""
        transport, owner = self._transport, self._owners.get(leg.id)
        if transport is None or owner is None:
            return
        try:
            _, outputs = transport.agent.refer(leg, target, self._clock())
        except LocalError as failure:
            owner.take(happened.ReferMoved(None, str(failure), final=True))
            return
        transport.perform(outputs)


def _user_of(request_uri: str) -> str | None:
    try:
        uri = parse_uri(request_uri)
    except SipParseError:
        return None
    return uri.unescaped_user if isinstance(uri, SipUri) else None


def digit_of_info(content_type: str, body: bytes) -> str | None:
    """Return the key that an INFO tells of: ``application/dtmf-relay`` (Signal=5) or ``application/dtmf`` (5)."""
    kind = content_type.partition(";")[0].strip().lower()
    text = body[:200].decode("ascii", "replace")
    if kind == "application/dtmf-relay":
        lines = [line.partition("=") for line in text.splitlines()]
        text = next((value for name, _, value in lines if name.strip().lower() == "signal"), "")
    elif kind != "application/dtmf":
        return None
    digit = {"10": "*", "11": "#"}.get(text.strip(), text.strip().upper())
    return digit if digit in DIGITS else None
