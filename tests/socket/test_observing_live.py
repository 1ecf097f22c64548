"""What operators see of a call: its trace in the store and at a collector, figures, and what it has used."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.socket.live import Live, Socket, live, until
from tests.socket.model_server import Received, Reply, serve

from offhook.telemetry.log import FactLog
from offhook.telemetry.otlp import OtlpExporter
from offhook.telemetry.trace import Span
from offhook.testing.voice import voice


async def _talk(one: Live) -> str:
    call, call_id = await one.talk({"tracing": {"workflow_name": "front desk"}})
    async with one.sdk.realtime.connect(call_id=call_id) as connection:
        socket = Socket(connection)
        await connection.response.create(response={"output_modalities": ["text"]})
        await socket.until("response.done")
        spans = (await one.http("GET", f"/offhook/v1/calls/{call_id}/spans")).json()["data"]
        assert [span["name"] for span in spans] == ["think", "speak", "response"], "while it goes on, too"
    await call.hang_up()
    await call.ended()
    return call_id


def test_a_call_leaves_its_trace_and_its_figures(tmp_path: Path) -> None:
    async def whole() -> None:
        async with asyncio.timeout(120), serve(lambda _: Reply([b"{}"], content_type="application/json")) as collector:
            otlp = collector.url.removesuffix("/v1")
            async with live(store=str(tmp_path), otlp_url=otlp) as one:
                call_id = await _talk(one)
                record = await one.record(call_id)
                assert record["usage"]["responses"] == 1
                assert record["usage"]["output_tokens"] > 0

                await until(lambda: bool(collector.received))
                received: Received = collector.received[0]
                assert received.path == "/v1/traces"
                spans = json.loads(received.body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
                assert [span["name"] for span in spans] == ["think", "speak", "response", "session"]

                kept: list[dict[str, object]] = []
                while not kept:
                    kept = (await one.http("GET", f"/offhook/v1/calls/{call_id}/spans")).json()["data"]
                assert [span["name"] for span in kept] == ["think", "speak", "response", "session"]
                assert kept[-1]["attributes"]["workflow_name"] == "front desk"  # type: ignore[index]
                assert (await one.http("GET", f"/offhook/v1/calls/{call_id}/spans", key="sk-x")).status_code == 401
                assert (await one.http("GET", "/offhook/v1/calls/rtc_x/spans")).status_code == 404

                answer = await one.http("GET", "/metrics", key=None)
                assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
                lines = answer.text.splitlines()
                assert 'offhook_responses_total{status="completed"} 1' in lines
                assert 'offhook_calls_total{result="completed"} 1' in lines
                assert "offhook_calls_active 0" in lines
                assert "offhook_think_seconds_count 1" in lines

    asyncio.run(whole())


def test_a_collector_that_is_away_costs_no_call_anything() -> None:
    async def whole() -> None:
        async with asyncio.timeout(120), live(otlp_url="http://127.0.0.1:9") as one:
            await _talk(one)
            otlp = one.server.otlp
            assert otlp is not None
            await until(lambda: otlp.dropped == 1)
            await _talk(one)

    asyncio.run(whole())


def test_a_trace_that_cannot_be_written_does_not_end_the_export_of_the_others() -> None:
    def spans(**attributes: Any) -> list[Span]:
        return [Span("1" * 32, "2" * 16, None, "session", 1.0, 2.0, attributes=attributes)]

    async def whole() -> None:
        async with asyncio.timeout(120), serve(lambda _: Reply([b"{}"], content_type="application/json")) as collector:
            exporter = OtlpExporter(collector.url.removesuffix("/v1"), "0", FactLog("tests"))
            exporter.start()
            try:
                exporter.save_spans("rtc_1", spans(odd=object()))
                exporter.save_spans("rtc_2", spans())
                await until(lambda: bool(collector.received))
                assert exporter.dropped == 1
            finally:
                await exporter.stop()

    asyncio.run(whole())


def test_what_was_open_and_what_was_said_last_at_a_hang_up_are_in_the_record_and_in_the_trace(tmp_path: Path) -> None:
    """Symptom: the response that a hang-up cut and the words that came after it had cost nothing."""

    async def whole() -> None:
        hung_up = asyncio.Event()
        transcript = Reply([b'{"text": "Goodbye."}'], after=hung_up)
        async with (
            asyncio.timeout(120),
            serve(lambda _: transcript) as host,
            live(store=str(tmp_path), llm_url=host.url, stt_url=host.url) as one,
        ):
            call, call_id = await one.talk(
                {"tracing": "auto", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
            )
            async with one.sdk.realtime.connect(call_id=call_id) as connection:
                socket = Socket(connection)
                await call.say(voice(900))
                await socket.until("response.created")
                await call.hang_up()
                await socket.until("response.done")
                record = await one.record(call_id)
                assert record["usage"]["responses"] == 1
                assert record["usage"]["heard_seconds"] == 0
                hung_up.set()
                await socket.until("conversation.item.input_audio_transcription.completed")
            heard_s = 0.0
            while not heard_s:
                heard_s = (await one.record(call_id))["usage"]["heard_seconds"]
            spans: list[dict[str, Any]] = []
            while not spans:
                spans = (await one.http("GET", f"/offhook/v1/calls/{call_id}/spans")).json()["data"]
            named = {span["name"]: span for span in spans}
            assert named["response"]["attributes"]["status"] == "cancelled"
            assert named["hear"]["end_s"] > named["session"]["end_s"]

    asyncio.run(whole())
