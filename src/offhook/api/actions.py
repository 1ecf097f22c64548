"""accept, reject, refer and hangup. Source: API reference, "Calls"."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from offhook.api.answer import header_of, problem_response, project_of
from offhook.api.body import read_body
from offhook.call.machine import NOT_FOUND, AcceptAsked, CallInput, HangUpAsked, ReferAsked, RejectAsked
from offhook.errors import ApiProblem
from offhook.host.directory import Directory, EndedCall
from offhook.host.owner import CallOwner
from offhook.wire import limits
from offhook.wire.calls import RejectParams
from offhook.wire.decode import decode_refer, decode_reject, decode_session

_CALLS: Final = "/realtime/calls/"
_DONE: Final = ((b"content-length", b"0"),)

_Call = CallOwner | EndedCall
_Ask = Callable[[int], CallInput]


class CallRoute(BaseRoute):
    """``POST /realtime/calls/{call_id}/{action}``: the four things that an application does to a call.

    All of them answer 200 with an empty body. Callers wait for them, and they are most of what applications ask, so
    one look at the path finds them under every prefix, and nothing is built for them that they do not need.
    """

    def __init__(self, prefixes: Collection[str], directory: Directory) -> None:
        self._prefixes = frozenset(prefixes)
        self._directory = directory
        self._actions: dict[str, Callable[[_Call, bytes, Scope], _Ask]] = {
            "accept": self._accept,
            "reject": self._reject,
            "refer": self._refer,
            "hangup": self._hang_up,
        }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether this is one of them, and of which call."""
        head, _, action = scope["path"].rpartition("/")
        prefix, calls, call_id = head.partition(_CALLS)
        if action not in self._actions or not calls or prefix not in self._prefixes or scope["type"] != "http":
            return Match.NONE, {}
        match = Match.FULL if scope["method"] == "POST" else Match.PARTIAL
        return match, {"path_params": {"call_id": call_id, "action": action}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Do it and answer. Raises HTTPException 405."""
        if scope["method"] != "POST":
            raise HTTPException(405, headers={"Allow": "POST"})
        try:
            problem = await self._do(scope, receive)
        except ApiProblem as refusal:
            problem = refusal
        if problem is None:
            await send({"type": "http.response.start", "status": 200, "headers": _DONE})
            await send({"type": "http.response.body", "body": b""})
        else:
            await problem_response(problem)(scope, receive, send)

    async def _do(self, scope: Scope, receive: Receive) -> ApiProblem | None:
        wanted: dict[str, Any] = scope["path_params"]
        project = project_of(self._directory.projects, header_of(scope, b"authorization"))
        call = self._directory.find(project, wanted["call_id"])
        if call is None:
            return NOT_FOUND
        body = await read_body(receive)
        return call.ask(self._actions[wanted["action"]](call, body, scope))

    def _accept(self, call: _Call, body: bytes, _: Scope) -> _Ask:
        """Answer the call with a session, which is checked in full before anything happens."""
        params = self._directory.prepare(decode_session(body), call.project)
        return lambda reply: AcceptAsked(params, body, reply)

    def _reject(self, _: _Call, body: bytes, scope: Scope) -> _Ask:
        """Refuse the call with a SIP status, 603 unless told otherwise."""
        status, retried = _status(decode_reject(body)), _is_retry(scope)
        return lambda reply: RejectAsked(status, reply, retried)

    def _refer(self, _: _Call, body: bytes, __: Scope) -> _Ask:
        """Transfer the caller."""
        target = decode_refer(body).target_uri
        return lambda reply: ReferAsked(target, reply)

    def _hang_up(self, _: _Call, __: bytes, scope: Scope) -> _Ask:
        """End the call."""
        retried = _is_retry(scope)
        return lambda reply: HangUpAsked(reply, retried)


def _status(params: RejectParams) -> int:
    return params.status_code if isinstance(params.status_code, int) else limits.DEFAULT_REJECT_STATUS


def _is_retry(scope: Scope) -> bool:
    """Whether the SDK says that it sent this before."""
    return header_of(scope, b"x-stainless-retry-count") not in {"", "0"}
