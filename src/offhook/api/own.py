"""The server's own surface beside the contract: health, and what the calls are doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from offhook.api.answer import find_project, json_response
from offhook.call.machine import NOT_FOUND
from offhook.host.directory import Directory


class OwnRoutes:
    """``/health`` for load balancers and people, ``/offhook/v1/calls`` for the holder of a key."""

    def __init__(self, directory: Directory, health: Callable[[], dict[str, Any]]) -> None:
        self._directory = directory
        self._health = health

    async def health(self, _: Request) -> Response:
        """Say what runs. 503 while the server drains, so that nothing new is sent to it."""
        state = self._health()
        return json_response(state, 200 if state["status"] == "ok" else 503)

    async def calls(self, request: Request) -> Response:
        """List the calls of the key's project, the newest first, with how the last ones ended."""
        project = find_project(self._directory.projects, request.headers)
        calls = self._directory.of_project(project)
        return json_response({"object": "list", "data": [call.record() for call in calls]})

    async def call(self, request: Request) -> Response:
        """Show one call."""
        project = find_project(self._directory.projects, request.headers)
        call = self._directory.find(project, request.path_params["call_id"])
        if call is None:
            raise NOT_FOUND
        return json_response(call.record())
