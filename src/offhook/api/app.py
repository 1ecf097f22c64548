"""The routes, under ``/v1`` and at the root, and what surrounds every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from offhook.api.actions import CallActions
from offhook.api.answer import problem_response
from offhook.api.own import OwnRoutes
from offhook.api.sideband import SidebandSockets
from offhook.errors import ApiProblem
from offhook.host.directory import Directory
from offhook.telemetry.log import FactLog

PREFIXES = ("/v1", "", "/openai/v1")  # SDK suites run without /v1; Azure's clients put /openai before it


def build_app(
    directory: Directory, health: Callable[[], dict[str, Any]], request_id: Callable[[], str], log: FactLog
) -> ASGIApp:
    """Return the ASGI application of the server."""
    actions = CallActions(directory)
    sockets = SidebandSockets(directory)
    own = OwnRoutes(directory, health)
    routes: list[BaseRoute] = []
    for prefix in PREFIXES:
        call = prefix + "/realtime/calls/{call_id:path}"
        routes += [
            Route(f"{call}/accept", actions.accept, methods=["POST"]),
            Route(f"{call}/reject", actions.reject, methods=["POST"]),
            Route(f"{call}/refer", actions.refer, methods=["POST"]),
            Route(f"{call}/hangup", actions.hangup, methods=["POST"]),
            WebSocketRoute(f"{prefix}/realtime", sockets.serve),
        ]
    routes += [
        Route("/health", own.health, methods=["GET"]),
        Route("/offhook/v1/calls", own.calls, methods=["GET"]),
        Route("/offhook/v1/calls/{call_id}", own.call, methods=["GET"]),
    ]
    handlers = {ApiProblem: _problem, 405: _no_method}
    return Surround(ExceptionMiddleware(Router(routes, default=_no_route), handlers), request_id, log)


async def _problem(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, ApiProblem)
    return problem_response(problem)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    message = f"Unknown request URL: {scope.get('method', 'GET')} {scope['path']}."
    response = problem_response(ApiProblem(404, "unknown_url", message))
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


async def _no_method(request: Request, refused: Exception) -> Response:
    message = f"Method {request.method} is not allowed on {request.url.path}."
    response = problem_response(ApiProblem(405, "method_not_allowed", message))
    assert isinstance(refused, HTTPException)
    response.headers.update(refused.headers or {})  # Allow (RFC 9110 15.5.6)
    return response


class Surround:
    """Gives every answer its ``x-request-id``, and turns a bug into a 500 that names the request, not the bug."""

    def __init__(self, app: ASGIApp, request_id: Callable[[], str], log: FactLog) -> None:
        self._app = app
        self._request_id = request_id
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] not in {"http", "websocket"}:
            return
        # Routes raise what they do not do only within an application; without one they answer in plain text.
        scope["app"] = self
        request_id = self._request_id()
        began = False

        async def send_with_id(message: Message) -> None:
            nonlocal began
            if message["type"] in {"http.response.start", "websocket.http.response.start", "websocket.accept"}:
                began = True
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as bug:
            self._log.error("request failed", failure=bug, request_id=request_id, path=scope["path"])
            if scope["type"] == "http" and not began:
                message = f"The server had an error while processing your request. Its id is {request_id}."
                problem = ApiProblem(500, None, message, kind="server_error")
                await problem_response(problem)(scope, receive, send_with_id)
