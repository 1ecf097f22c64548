"""accept, reject, refer and hangup. Source: API reference, "Calls"."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from offhook.api.answer import find_project, problem_response
from offhook.call.machine import NOT_FOUND, AcceptAsked, CallInput, HangUpAsked, ReferAsked, RejectAsked
from offhook.errors import ApiProblem
from offhook.host.directory import Directory, EndedCall
from offhook.host.owner import CallOwner
from offhook.wire import limits
from offhook.wire.calls import RejectParams
from offhook.wire.decode import decode_refer, decode_reject, decode_session

_DONE = Response()


class CallActions:
    """The four things that an application does to a call. All of them answer 200 with an empty body."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def accept(self, request: Request) -> Response:
        """Answer the call with a session, which is checked in full before anything happens."""
        call = self._find(request)
        body = await read_body(request)
        params = self._directory.prepare(decode_session(body), call.project)
        return _done(call, lambda reply: AcceptAsked(params, body, reply))

    async def reject(self, request: Request) -> Response:
        """Refuse the call with a SIP status, 603 unless told otherwise."""
        call = self._find(request)
        params = decode_reject(await read_body(request))
        status = _status(params)
        retried = _is_retry(request)
        return _done(call, lambda reply: RejectAsked(status, reply, retried))

    async def refer(self, request: Request) -> Response:
        """Transfer the caller."""
        call = self._find(request)
        params = decode_refer(await read_body(request))
        return _done(call, lambda reply: ReferAsked(params.target_uri, reply))

    async def hangup(self, request: Request) -> Response:
        """End the call."""
        call = self._find(request)
        await read_body(request)
        retried = _is_retry(request)
        return _done(call, lambda reply: HangUpAsked(reply, retried))

    def _find(self, request: Request) -> CallOwner | EndedCall:
        project = find_project(self._directory.projects, request.headers)
        call = self._directory.find(project, request.path_params["call_id"])
        if call is None:
            raise NOT_FOUND
        return call


def _done(call: CallOwner | EndedCall, ask: Callable[[int], CallInput]) -> Response:
    problem = call.ask(ask)
    return _DONE if problem is None else problem_response(problem)


def _status(params: RejectParams) -> int:
    return params.status_code if isinstance(params.status_code, int) else limits.DEFAULT_REJECT_STATUS


def _is_retry(request: Request) -> bool:
    """Whether the SDK says that it sent this before."""
    return request.headers.get("x-stainless-retry-count", "0") not in {"", "0"}


async def read_body(request: Request) -> bytes:
    """Return the body. Raises ApiProblem 413 for a larger one than any call action needs."""
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limits.MAX_CALL_BODY_BYTES:
                message = f"The request body is larger than {limits.MAX_CALL_BODY_BYTES} bytes."
                raise ApiProblem(413, "request_too_large", message)
    except ClientDisconnect:
        raise ApiProblem(400, None, "The request broke off.") from None
    return body
