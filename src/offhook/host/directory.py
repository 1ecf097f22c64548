"""Who owns which call: ids, capacity, and the calls that have ended lately."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

from offhook.call import machine as telephone_side
from offhook.call.call import Call
from offhook.call.machine import CallInput, CallMachine, Reply
from offhook.call.tokens import TokenStream
from offhook.errors import ApiProblem
from offhook.host.admission import Admission
from offhook.host.answer import AnswerAlways, AnswerByWebhook, AnswerEcho, AnswerReject
from offhook.host.invitation import Invitation
from offhook.host.line import Lines
from offhook.host.owner import CallOwner
from offhook.host.project import Project, Projects
from offhook.host.services import Services
from offhook.host.sideband import Readers
from offhook.host.telephone import Telephone
from offhook.session.settings import check_model
from offhook.wire.ids import Ids
from offhook.wire.own import update_own
from offhook.wire.session import SessionParams

# Ended calls that are still listed, and whose repeated actions are known as such. SDKs retry for some seconds.
MAX_ENDED: Final = 1000
NOBODY: Final = 0

_ECHO_SESSION = SessionParams(type="realtime")


class EndedCall:
    """What is kept of a call that is over: its record, and what repeated actions are answered from."""

    __slots__ = ("_machine", "_record", "project")

    def __init__(self, project: Project, machine: CallMachine, record: dict[str, Any]) -> None:
        self.project = project
        self._machine = machine
        self._record = record

    def ask(self, make: Callable[[int], CallInput]) -> ApiProblem | None:
        """Answer an action of the application, which is too late or a repetition; None is success."""
        # The time decides nothing any more.
        for output in self._machine.handle(make(1), 0.0):
            if isinstance(output, Reply):
                return output.problem
        return telephone_side.NOT_FOUND

    def record(self) -> dict[str, Any]:
        """Return what was known of the call at its end."""
        return self._record


class Directory:
    """All calls of this server. Calls in progress are found by id, and only by their project's keys."""

    def __init__(
        self, projects: Projects, admission: Admission, services: Services, telephone: Telephone, lines: Lines
    ) -> None:
        self.projects = projects
        self.admission = admission
        self.services = services
        self.telephone = telephone
        self.lines = lines
        self._readers: dict[str, Readers] = {}
        self._active: dict[str, CallOwner] = {}
        self._ended: OrderedDict[str, EndedCall] = OrderedDict()
        self._parting: set[asyncio.Task[None]] = set()
        self._draining_until: float | None = None
        self.total = 0

    # -- for the routes

    def find(self, project: Project, call_id: str) -> CallOwner | EndedCall | None:
        """Return a call of this project, ended ones included; another project's does not exist for it."""
        call = self._active.get(call_id) or self._ended.get(call_id)
        return call if call is not None and call.project is project else None

    def of_project(self, project: Project) -> list[CallOwner | EndedCall]:
        """Return the calls of a project, the newest first."""
        calls: list[CallOwner | EndedCall] = [*self._ended.values(), *self._active.values()]
        return [call for call in reversed(calls) if call.project is project]

    def prepare(self, params: SessionParams, project: Project, *, plays: bool = True) -> SessionParams:
        """Return a session as it is to begin, by telephone or (not ``plays``) on a socket of its own.

        Raises ApiProblem for a model, a prompt or a clip that is not there.
        """
        params = self.services.preparing.session(params, project.id)
        options = self.services.options.engine
        check_model(params, options.strict_models)
        update_own(options.defaults.own, params.offhook, options.defaults.own, options.clips, plays=plays)
        return params

    def readers(self, project: Project) -> Readers:
        """Return the sockets of a project."""
        return self._readers.setdefault(project.id, Readers(self.services.metrics))

    def report_sockets(self) -> dict[str, int]:
        """Say what waits for the sockets of all projects."""
        readers = self._readers.values()
        return {"open": sum(map(len, readers)), "waiting_bytes": sum(each.waiting_bytes for each in readers)}

    @property
    def calls(self) -> int:
        """Calls in progress."""
        return len(self._active)

    @property
    def active(self) -> list[CallOwner]:
        """The calls in progress."""
        return list(self._active.values())

    # -- coming and going

    def refuse(self) -> str | None:
        """Return why no call can be taken now, None when one can; a refusal for want of room is counted."""
        return self._no_way_in() or self.admission.refuse(self.calls)

    def full(self) -> str | None:
        """Return why no call could be taken now, None when one could."""
        return self._no_way_in() or self.admission.full(self.calls)

    def stayed(self, since: float) -> int:
        """Count the calls that came before a time and are there still."""
        return sum(owner.call.began <= since for owner in self._active.values())

    def _no_way_in(self) -> str | None:
        if self._draining_until is not None:
            return "the server is stopping"
        if self.calls - self.lines.ports.in_use >= self.lines.room():
            # Calls that ring will want theirs. Refusing now is kinder than when the application has accepted.
            return "no RTP ports are left (widen rtp_ports)"
        return None

    def welcome(self, invitation: Invitation, project: Project) -> CallOwner:
        """Take a call in, and let it be decided about. Raises ApiProblem when it cannot be answered as it is to be."""
        services = self.services
        answer = services.options.answer
        prepared = None
        if isinstance(answer, AnswerAlways) and answer.params.prompt:
            # It may have become another since the server began, which has looked at the rest.
            prepared = self.prepare(answer.params, project)
        seed = services.seed()
        call = Call(_call_id(seed), seed, services.options.call, services.clock())
        owner = CallOwner(call, project, invitation, self)
        self._active[call.id] = owner
        self.admission.take()
        self.total += 1
        match answer:
            case AnswerByWebhook():
                owner.start()
            case AnswerAlways(params=params, body=body):
                owner.take(telephone_side.AcceptAsked(prepared or params, body, NOBODY))
            case AnswerReject(status=status):
                owner.take(telephone_side.RejectAsked(status, NOBODY))
            case AnswerEcho():
                owner.take(telephone_side.AcceptAsked(_ECHO_SESSION, b"", NOBODY))
        return owner

    def ended(self, owner: CallOwner) -> None:
        """Keep what a call has come to, and let go of everything else: its sound, its conversation, its sockets."""
        call = owner.call
        if self._active.pop(call.id, None) is None:
            return
        self._ended[call.id] = EndedCall(owner.project, call.machine, owner.record())
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def update(self, owner: CallOwner) -> None:
        """Keep what has become known of a call since its end."""
        call = owner.call
        if call.id in self._ended:
            self._ended[call.id] = EndedCall(owner.project, call.machine, owner.record())

    def part_with(self, work: Coroutine[Any, Any, None]) -> None:
        """Let a call that has ended finish what is pending."""
        task = asyncio.get_running_loop().create_task(work)
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)

    async def stop(self) -> None:
        """Wait for nothing more; all calls have ended."""
        parting = list(self._parting)
        for task in parting:
            task.cancel()
        await asyncio.gather(*parting, return_exceptions=True)

    def drain(self, until: float) -> None:
        """Take no more calls; those in progress may go on until then."""
        self._draining_until = until
        for owner in self.active:
            owner.take(telephone_side.DrainBegan(until))


def _call_id(seed: bytes) -> str:
    # The stream of the id is its own, so that the call's other ids do not depend on how it was found.
    return Ids(TokenStream(seed[::-1])).call()
