"""Who owns which call: ids, capacity, and the calls that have ended lately."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import UNSET

from offhook.call import machine as telephone_side
from offhook.call.call import Call
from offhook.call.tokens import TokenStream
from offhook.errors import ApiProblem
from offhook.host.admission import Admission
from offhook.host.answer import AnswerAlways, AnswerByWebhook, AnswerEcho, AnswerReject
from offhook.host.invitation import Invitation
from offhook.host.line import Lines
from offhook.host.owner import CallOwner
from offhook.host.project import Project, Projects
from offhook.host.services import Services
from offhook.host.telephone import Telephone
from offhook.wire.ids import Ids
from offhook.wire.problem import unsupported_value
from offhook.wire.session import SessionParams

# Ended calls that are still listed, and whose repeated actions are known as such. SDKs retry for some seconds.
MAX_ENDED: Final = 1000
NOBODY: Final = 0

_ECHO_SESSION = SessionParams(type="realtime")


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
        self._active: dict[str, CallOwner] = {}
        self._ended: OrderedDict[str, CallOwner] = OrderedDict()
        self._draining_until: float | None = None
        self.total = 0

    # -- for the routes

    def find(self, project: Project, call_id: str) -> CallOwner | None:
        """Return a call of this project, ended ones included; another project's does not exist for it."""
        owner = self._active.get(call_id) or self._ended.get(call_id)
        return owner if owner is not None and owner.project is project else None

    def of_project(self, project: Project) -> list[CallOwner]:
        """Return the calls of a project, the newest first."""
        owners = [*self._ended.values(), *self._active.values()]
        return [owner for owner in reversed(owners) if owner.project is project]

    def check_model(self, params: SessionParams) -> None:
        """Raise ApiProblem for a model that is not there, when the server is strict about them."""
        strict = self.services.options.strict_models
        if strict is not None and params.model is not UNSET and params.model not in strict:
            problem = unsupported_value("session.model", params.model, sorted(strict))
            raise ApiProblem(400, "model_not_found", problem.message, param="session.model")

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
        """Return why no call can be taken now, None when one can."""
        if self._draining_until is not None:
            return "the server is stopping"
        if not self.admission.admit(self.calls):
            return f"{self.calls} calls are the limit"
        return None

    def welcome(self, invitation: Invitation, project: Project) -> CallOwner:
        """Take a call in, and let it be decided about."""
        services = self.services
        seed = services.seed()
        call = Call(_call_id(seed), seed, services.options.call, services.clock())
        owner = CallOwner(call, project, invitation, self)
        self._active[call.id] = owner
        self.total += 1
        match services.options.answer:
            case AnswerByWebhook():
                owner.start()
            case AnswerAlways(params=params, body=body):
                owner.take(telephone_side.AcceptAsked(params, body, NOBODY))
            case AnswerReject(status=status):
                owner.take(telephone_side.RejectAsked(status, NOBODY))
            case AnswerEcho():
                owner.take(telephone_side.AcceptAsked(_ECHO_SESSION, b"", NOBODY))
        return owner

    def ended(self, owner: CallOwner) -> None:
        """Move a call to those that have ended."""
        call_id = owner.call.id
        if self._active.pop(call_id, None) is None:
            return
        self._ended[call_id] = owner
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def drain(self, until: float) -> None:
        """Take no more calls; those in progress may go on until then."""
        self._draining_until = until
        for owner in self.active:
            owner.take(telephone_side.DrainBegan(until))


def _call_id(seed: bytes) -> str:
    # The stream of the id is its own, so that the call's other ids do not depend on how it was found.
    return Ids(TokenStream(seed[::-1])).call()
