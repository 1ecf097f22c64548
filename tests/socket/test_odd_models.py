"""Models of others that hand out what cannot be sent, or never come to an end: the session outlives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.socket.live import PATIENCE_S, Live, run_jumping
from tests.socket.test_sessions_live import opened

from offhook.host import conversing
from offhook.model.interface import ModelError, ModelOutput, Speech, Words
from offhook.session.inputs import GenerationFinished, TextProduced, ToolArgumentsProduced, ToolCallStarted
from offhook.session.outputs import Generate
from offhook.testing.model import ScriptedModel
from offhook.wire.items import LogProb
from offhook.wire.session import TranscriptionEcho

HALF = "hi \ud83d"
SHOWN = "hi \N{REPLACEMENT CHARACTER}"


class HalfPairs(ScriptedModel):
    """Cuts its texts in the middle of a surrogate pair."""

    async def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        self.requests.append(request)
        if request.instructions == "Fail.":
            raise ModelError(HALF, HALF)
        yield TextProduced(request.run, HALF)
        yield ToolCallStarted(request.run, 0, HALF, HALF)
        yield ToolArgumentsProduced(request.run, 0, HALF)
        yield GenerationFinished(request.run)

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        del wanted
        if speech.seconds > 0.5:
            raise ModelError(HALF, HALF)
        yield Words(HALF, (LogProb(HALF, -0.5, (104, 105)),), HALF)


async def add_recording(client: Any, ms: int) -> None:
    content = [{"type": "input_audio", "audio": "AAAA" * (ms * 48 // 3)}]
    await client.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})


def test_half_a_character_of_a_model_is_replaced_and_the_session_goes_on() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.send("response.create", response={"output_modalities": ["text"]})
            done = (await client.until("response.done"))[-1]["response"]
            message, call = done["output"]
            assert message["content"][0]["text"] == SHOWN
            assert (call["name"], call["call_id"], call["arguments"]) == (SHOWN, SHOWN, SHOWN)
            await client.send("response.create", response={"instructions": "Fail."})
            done = (await client.until("response.done"))[-1]["response"]
            assert done["status_details"]["error"]["code"] == SHOWN

    run_jumping(test, backend=HalfPairs())


def test_half_a_character_of_a_recogniser_is_replaced_and_the_session_goes_on() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            transcription = {"model": "whisper-1"}
            include = ["item.input_audio_transcription.logprobs"]
            await client.update(audio={"input": {"transcription": transcription}}, include=include)
            await add_recording(client, 300)
            done = (await client.until("conversation.item.input_audio_transcription.completed"))[-1]
            assert done["transcript"] == SHOWN
            assert done["logprobs"][0]["token"] == SHOWN
            await add_recording(client, 600)
            failed = (await client.until("conversation.item.input_audio_transcription.failed"))[-1]
            assert failed["error"]["message"] == SHOWN

    run_jumping(test, backend=HalfPairs())


class SlowEar(ScriptedModel):
    """Hears nothing to its end until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.may_end = asyncio.Event()

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        del speech, wanted
        self.begun += 1
        await self.may_end.wait()
        yield Words("At nine.")


@pytest.mark.parametrize("limit", [("MAX_HEARINGS", 2), ("MAX_HEARING_BYTES", 2 * 14_400)])
def test_recordings_that_come_faster_than_they_are_heard_are_refused_beyond_a_limit(
    limit: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversing, *limit)
    ear = SlowEar()

    async def test(one: Live) -> None:
        async with opened(one) as client, asyncio.timeout(PATIENCE_S):
            await client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
            for _ in range(3):
                await add_recording(client, 300)
            refused = (await client.until("conversation.item.input_audio_transcription.failed"))[-1]
            added = [event["item"]["id"] for event in client.events if event["type"] == "conversation.item.added"]
            assert refused["item_id"] == added[2]
            assert refused["error"]["code"] == "overloaded"
            assert ear.begun == 2
            ear.may_end.set()
            for item_id in added[:2]:
                done = (await client.until("conversation.item.input_audio_transcription.completed"))[-1]
                assert done["item_id"] == item_id
            await add_recording(client, 300)
            await client.until("conversation.item.input_audio_transcription.completed")

    run_jumping(test, backend=ear)


class Mute(ScriptedModel):
    """Says nothing of itself."""

    def report(self) -> dict[str, Any]:
        raise RuntimeError("the engine is gone")


def test_health_and_metrics_are_told_though_a_whole_backend_cannot_report() -> None:
    """Both answered 500, and a load balancer took away a server whose calls went well."""

    async def test(one: Live) -> None:
        health = await one.http("GET", "/health")
        assert health.status_code == 200
        assert health.json()["models"]["report"] == "failed"
        assert (await one.http("GET", "/metrics")).status_code == 200
        assert one.server.models()

    run_jumping(test, backend=Mute())
