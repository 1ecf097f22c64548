"""The routes, under ``/v1`` and at the root, and what surrounds every one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from offhook.api.actions import CallRoute
from offhook.api.answer import problem_response
from offhook.api.models import ModelRoutes
from offhook.api.own import OwnRoutes
from offhook.api.prompts import PromptRoutes
from offhook.api.secrets import SecretRoutes
from offhook.api.sockets import RealtimeSockets
from offhook.errors import ApiProblem
from offhook.host.client_secrets import ClientSecrets
from offhook.host.directory import Directory
from offhook.host.sessions import Sessions
from offhook.telemetry.log import FactLog

PREFIXES = ("/v1", "", "/openai/v1")  # SDK suites run without /v1; Azure's clients put /openai before it


def build_app(
    directory: Directory,
    secrets: ClientSecrets,
    sessions: Sessions,
    health: Callable[[], dict[str, Any]],
    request_id: Callable[[], str],
    log: FactLog,
) -> ASGIApp:
    """Return the ASGI application of the server."""
    made = SecretRoutes(directory, secrets)
    models = ModelRoutes(directory)
    sockets = RealtimeSockets(directory, secrets, sessions)
    own = OwnRoutes(directory, health)
    prompts = PromptRoutes(directory)
    routes: list[BaseRoute] = [CallRoute(PREFIXES, directory)]
    for prefix in PREFIXES:
        routes += [
            Route(f"{prefix}/realtime/client_secrets", Endpoint(made.create), methods=["POST"]),
            Route(f"{prefix}/realtime/translations/client_secrets", Endpoint(made.translation), methods=["POST"]),
            Route(f"{prefix}/realtime/sessions", Endpoint(made.legacy_session), methods=["POST"]),
            Route(f"{prefix}/realtime/transcription_sessions", Endpoint(made.legacy_transcription), methods=["POST"]),
            Route(f"{prefix}/models", Endpoint(models.list_models), methods=["GET"]),
            Route(f"{prefix}/models/{{model:path}}", Endpoint(models.model), methods=["GET"]),
            WebSocketRoute(f"{prefix}/realtime", sockets.serve),
        ]
    routes += [
        Route("/health", Endpoint(own.health), methods=["GET"]),
        Route("/offhook/v1/calls", Endpoint(own.calls), methods=["GET"]),
        Route("/offhook/v1/calls/{call_id}", Endpoint(own.call), methods=["GET"]),
        Route("/offhook/v1/calls/{call_id}/spans", Endpoint(own.spans), methods=["GET"]),
        Route("/metrics", Endpoint(own.metrics), methods=["GET"]),
        Route("/offhook/v1/prompts", Endpoint(prompts.newest), methods=["GET"]),
        Route("/offhook/v1/prompts/{prompt_id}/versions", Endpoint(prompts.versions), methods=["GET"]),
        Route("/offhook/v1/prompts/{prompt_id}/versions", Endpoint(prompts.add), methods=["POST"]),
        Route("/offhook/v1/prompts/{prompt_id}/versions/{version}", Endpoint(prompts.version), methods=["GET"]),
    ]
    return Surround(Router(routes, default=_no_route), request_id, log)


class Endpoint:
    """A route as an ASGI application: a request in, a response out, an `ApiProblem` told in the API's shape."""

    def __init__(self, answer: Callable[[Request], Awaitable[Response]]) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            response = await self._answer(Request(scope, receive, send))
        except ApiProblem as problem:
            response = problem_response(problem)
        await response(scope, receive, send)


async def _no_route(scope: Scope, receive: Receive, send: Send) -> None:
    message = f"Unknown request URL: {scope.get('method', 'GET')} {scope['path']}."
    response = problem_response(ApiProblem(404, "unknown_url", message))
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(response)
    else:
        await response(scope, receive, send)


def _no_method(scope: Scope, refused: HTTPException) -> Response:
    message = f"Method {scope['method']} is not allowed on {scope['path']}."
    response = problem_response(ApiProblem(405, "method_not_allowed", message))
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
        except HTTPException as refused:
            await _no_method(scope, refused)(scope, receive, send_with_id)
        except Exception as bug:  # told as a 500 with the request's id, never as a traceback
            self._log.error("request failed", failure=bug, request_id=request_id, path=scope["path"])
            if scope["type"] == "http" and not began:
                message = f"The server had an error while processing your request. Its id is {request_id}."
                problem = ApiProblem(500, None, message, kind="server_error")
                await problem_response(problem)(scope, receive, send_with_id)
