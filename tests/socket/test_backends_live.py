"""Backends in a running server: one stands in for another, and operators see it, and what a call has cost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.socket.live import Live, Socket, live, until
from tests.socket.model_server import Reply, serve

from offhook.testing.voice import voice

TOML = """
llm = ["away", "large"]
models = "scripted"
currency = "EUR"
[backends.away]
plugin = "chat"
url = "http://127.0.0.1:1/v1"
[backends.large]
plugin = "chat"
url = "URL"
[prices.large]
per_million_input_tokens = 2
per_million_output_tokens = 8
[prices.scripted]
per_audio_minute = 0
"""


def said(text: str, *, hangs: bool = False) -> Reply:
    delta = {"choices": [{"index": 0, "delta": {"content": text}}]}
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 250}}
    chunks = [delta] if hangs else [delta, end, usage]
    lines = [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks]
    return Reply(lines if hangs else [*lines, b"data: [DONE]\n\n"], hang=hangs)


def settings(folder: Path, url: str) -> Path:
    path = folder / "offhook.toml"
    path.write_text(TOML.replace("URL", url), encoding="utf-8")
    return path


async def _answer(one: Live, reply_to: str = "conversation.item.input_audio_transcription.completed") -> str:
    call, call_id = await one.talk({"audio": {"input": {"transcription": {"model": "whisper-1"}}}})
    async with one.sdk.realtime.connect(call_id=call_id) as connection:
        socket = Socket(connection)
        await call.say(voice(900))
        await socket.until("response.done")
        assert socket.events[-1]["response"]["status"] == "completed"
        assert any(event["type"] == reply_to for event in socket.events)
    await call.hang_up()
    await call.ended()
    return call_id


def test_a_call_goes_on_with_the_backend_that_stands_in_and_costs_what_that_one_costs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def whole() -> None:
        async with (
            asyncio.timeout(120),
            serve(lambda _: said("We open at nine.")) as host,
            live(toml=settings(tmp_path, host.url), store=str(tmp_path / "store")) as one,
        ):
            assert "thinks with default at http://127.0.0.1:1/v1 (else default at" in one.server.models()
            call_id = await _answer(one)
            health = (await one.http("GET", "/health", key=None)).json()
            away, large = health["models"]["brain"]["order"]
            assert (away["backend"], away["failures"], away["ready"]) == ("away", 1, True)
            assert (large["backend"], large["stood_in"], large["resting"]) == ("large", 1, False)

            record = await one.record(call_id)
            cost = record["cost"]
            assert (cost["currency"], cost["total"]) == ("EUR", 0.004)
            parts = {(part["part"], part["backend"]): part for part in cost["parts"]}
            assert parts["llm", "large"] == {
                "part": "llm",
                "backend": "large",
                "amount": 0.004,
                "estimated": False,
                "input_tokens": 1000,
                "output_tokens": 250,
            }
            assert parts["tts", "scripted"]["characters"] == len("We open at nine.")
            assert parts["stt", "scripted"]["audio_s"] > 0.5

            lines = (await one.http("GET", "/metrics", key=None)).text.splitlines()
            assert 'offhook_backend_failures_total{part="llm",backend="away"} 1' in lines
            assert 'offhook_backend_resting{part="llm",backend="large"} 0' in lines
            assert 'offhook_backend_stood_in_total{part="llm",backend="large"} 1' in lines
            assert 'offhook_cost_total{part="llm",backend="large",currency="EUR"} 0.004' in lines

    caplog.set_level("INFO", "offhook")
    asyncio.run(whole())
    assert any("another stands in" in message and "backend=away" in message for message in caplog.messages)
    assert any("call ended" in message and "cost=0.004" in message for message in caplog.messages)


def test_the_answer_that_a_hang_up_cut_is_in_the_cost_of_the_call(tmp_path: Path) -> None:
    async def whole() -> None:
        async with (
            asyncio.timeout(120),
            serve(lambda _: said("We open at nine. Then", hangs=True)) as host,
            live(toml=settings(tmp_path, host.url), llm_seconds="60") as one,
        ):
            call, call_id = await one.talk()
            async with one.sdk.realtime.connect(call_id=call_id) as connection:
                socket = Socket(connection)
                await call.say(voice(900))
                await socket.until("response.output_audio_transcript.delta")
                await call.hang_up()
            await call.ended()
            found: list[dict[str, Any]] = []
            while not found:
                cost = (await one.record(call_id))["cost"]
                found = [part for part in cost["parts"] if part["part"] == "llm"]
            assert found[0]["estimated"]
            assert found[0]["amount"] > 0

    asyncio.run(whole())


def test_a_session_on_a_socket_has_its_cost_in_its_record(tmp_path: Path) -> None:
    async def whole() -> None:
        store = tmp_path / "store"
        async with (
            asyncio.timeout(120),
            serve(lambda _: said("We open at nine.")) as host,
            live(toml=settings(tmp_path, host.url), store=str(store)) as one,
        ):
            async with one.sdk.realtime.connect(model="gpt-realtime") as connection:
                socket = Socket(connection)
                await connection.conversation.item.create(
                    item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "When?"}]}
                )
                await connection.response.create(response={"output_modalities": ["text"]})
                await socket.until("response.done")
            await until(lambda: len(one.server.sessions) == 0)
        assert b'"total":0.004' in b"".join(path.read_bytes() for path in store.glob("calls.sqlite3*"))

    asyncio.run(whole())
