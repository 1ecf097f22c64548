"""The server's own surface beside the contract: health, and what the calls are doing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from offhook.api.answer import find_project, json_response
from offhook.call.machine import NOT_FOUND
from offhook.host.directory import Directory
from offhook.host.owner import CallOwner
from offhook.telemetry.metrics import CONTENT_TYPE, labels_text
from offhook.telemetry.trace import Span


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

    async def spans(self, request: Request) -> Response:
        """Show the trace of a call whose session wants one: of a call that has ended, what the store keeps."""
        project = find_project(self._directory.projects, request.headers)
        call = self._directory.find(project, request.path_params["call_id"])
        if call is None:
            raise NOT_FOUND
        store = self._directory.services.store
        spans: Sequence[Span] = ()
        if isinstance(call, CallOwner):
            spans = call.spans
        elif store is not None:
            spans = await asyncio.to_thread(store.read_spans, request.path_params["call_id"])
        return json_response({"object": "list", "data": spans})

    async def metrics(self, _: Request) -> Response:
        """Tell Prometheus what was counted and measured."""
        text = self._directory.services.metrics.text(_gauges(self._health()))
        return Response(text, headers={"content-type": CONTENT_TYPE})


def _gauges(state: dict[str, Any]) -> dict[str, tuple[str, float | Mapping[str, float]]]:
    calls, media, backends = state["calls"], state["media"], _backends(state["models"])
    store = state["store"] or {"waiting_bytes": 0, "dropped": 0}
    return {
        "offhook_backend_failures_total": ("failures of a backend that others stand in for", backends["failures"]),
        "offhook_backend_stood_in_total": ("turns and answers a backend took for another", backends["stood_in"]),
        "offhook_backend_resting": ("whether a backend is left alone after it failed", backends["resting"]),
        "offhook_calls_active": ("calls in progress", calls["active"]),
        "offhook_calls_limit": ("calls that this machine holds on time", calls["limit"]),
        "offhook_calls_refused": ("calls refused since the start", calls["refused"]),
        "offhook_media_busy_ratio": ("how busy the audio thread is, of one core", media["busy"]),
        "offhook_media_late_seconds": ("how late audio goes out, 99th percentile", media["late_p99_ms"] / 1000),
        "offhook_loop_late_seconds": ("how late the event loop is", state["loop_late_ms"] / 1000),
        "offhook_sockets_open": ("sockets that hear a call or a session", state["sockets"]["open"]),
        "offhook_sockets_waiting_bytes": ("events that were not read yet", state["sockets"]["waiting_bytes"]),
        "offhook_store_waiting_bytes": ("what waits for the disk of the store", store["waiting_bytes"]),
        "offhook_store_dropped": ("records and lines of journals that were not kept", store["dropped"]),
        "offhook_uptime_seconds": ("how long the server runs", state["uptime_s"]),
    }


def _backends(models: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the figures of the backends that stand in for each other, by their labels."""
    orders = [value["order"] for value in models.values() if isinstance(value, dict) and "order" in value]
    return {
        figure: {
            labels_text({"part": each["part"], "backend": each["backend"]}): float(each[figure])
            for order in orders
            for each in order
        }
        for figure in ("failures", "stood_in", "resting")
    }
