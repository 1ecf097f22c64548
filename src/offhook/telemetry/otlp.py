"""Sends spans to an OpenTelemetry collector: OTLP over HTTP, as JSON.

Source: OpenTelemetry, "OTLP Specification", OTLP/HTTP, JSON Protobuf encoding. Ids are hexadecimal there, 64-bit
numbers are strings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError

from offhook.telemetry.log import FactLog
from offhook.telemetry.trace import Span

# Calls whose spans wait for a collector. One that is away for longer misses some, and they are counted.
MAX_WAITING: Final = 256
TIMEOUT_S: Final = 10.0
SPAN_KIND_INTERNAL: Final = 1
STATUS_ERROR: Final = 2


def encode_spans(spans: Sequence[Span], version: str) -> bytes:
    """Return the body of a request."""
    resource = {"attributes": [_attribute("service.name", "offhook"), _attribute("service.version", version)]}
    scope = {"scope": {"name": "offhook", "version": version}, "spans": list(map(_span, spans))}
    return msgspec.json.encode({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


def _span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id or "",
        "name": span.name,
        "kind": SPAN_KIND_INTERNAL,
        "startTimeUnixNano": str(round(span.start_s * 1e9)),
        "endTimeUnixNano": str(round(span.end_s * 1e9)),
        "attributes": [_attribute(name, value) for name, value in span.attributes.items()],
        "status": {"code": STATUS_ERROR} if span.failed else {},
    }


def _attribute(name: str, value: object) -> dict[str, Any]:
    match value:
        case bool():
            return {"key": name, "value": {"boolValue": value}}
        case int():
            return {"key": name, "value": {"intValue": str(value)}}
        case float():
            return {"key": name, "value": {"doubleValue": value}}
        case str():
            return {"key": name, "value": {"stringValue": value}}
        case _:
            return {"key": name, "value": {"stringValue": msgspec.json.encode(value).decode()}}


class OtlpExporter:
    """Sends the spans of each session when it has ended, one request after the other."""

    def __init__(self, url: str, version: str, log: FactLog) -> None:
        self._url = f"{url}/v1/traces"
        self._version = version
        self._log = log
        self._client: Client | None = None
        self._waiting: asyncio.Queue[Sequence[Span]] = asyncio.Queue(MAX_WAITING)
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def start(self) -> None:
        """Begin to send."""
        timeout = timedelta(seconds=TIMEOUT_S)
        self._client = ClientBuilder().follow_redirects(False).timeout(timeout).build()
        self._task = asyncio.get_running_loop().create_task(self._run(self._client))

    async def stop(self) -> None:
        """Send what waits, within the time of one request, and stop."""
        task, client = self._task, self._client
        if task is None or client is None:
            return
        self._task = self._client = None
        waiting = asyncio.ensure_future(self._waiting.join())
        await asyncio.wait([waiting, task], timeout=TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        for each in (waiting, task):
            each.cancel()
        await asyncio.gather(waiting, task, return_exceptions=True)
        await client.close()

    def save_spans(self, call_id: str, spans: Sequence[Span]) -> None:
        """Queue the spans of one session; dropped and counted when the collector is too far behind."""
        try:
            self._waiting.put_nowait(spans)
        except asyncio.QueueFull:
            self.dropped += 1
            self._log.warning("trace dropped: the collector is too slow", call_id=call_id)

    async def _run(self, client: Client) -> None:
        while True:
            spans = await self._waiting.get()
            try:
                request = client.post(self._url).header("content-type", "application/json")
                response = await request.body_bytes(encode_spans(spans, self._version)).build().send()
                if response.status >= 300:
                    self.dropped += 1
                    self._log.warning("trace refused by the collector", status=response.status)
            except PyreqwestError as failure:
                self.dropped += 1
                self._log.warning("trace not sent", why=type(failure).__name__)
            except Exception as bug:  # it costs one session its trace, never those that come after it
                self.dropped += 1
                self._log.error("trace not sent", failure=bug)
            finally:
                self._waiting.task_done()
