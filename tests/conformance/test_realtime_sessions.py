"""The official package, unmodified, on sessions without a call: ``client.realtime.connect(model=...)``."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import msgspec
import numpy as np
import pytest
from openai import AsyncOpenAI, OpenAI
from tests.oracle import assert_server_event
from tests.socket.live import KEY, Live, Socket, run, until

from offhook.audio.pcm import from_bytes, silence, to_bytes
from offhook.audio.resample import resample
from offhook.audio.tone import find_tones
from offhook.testing.voice import voice

SPOKEN = to_bytes(resample(np.concatenate([silence(2400), voice(1000, seed=3), silence(6400)]), 8000, 24000))
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "look_up",
    "description": "Look something up.",
    "parameters": {"type": "object", "properties": {}},
}

# A written question, as recorded live: what the client adds is told before the response begins.
ASKED = ["conversation.item.added", "conversation.item.done", "response.created"]
WRITTEN = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
CALLED = [
    "response.output_item.added",
    "conversation.item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def heard(events: list[dict[str, Any]]) -> bytes:
    found = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
    return b"".join(map(base64.b64decode, found))


def test_a_written_question_is_answered_in_writing_in_the_contracted_order() -> None:
    async def test(one: Live) -> None:
        async with one.sdk.realtime.connect(model="gpt-realtime") as connection:
            socket = Socket(connection)
            created = await socket.receive()
            assert (created["type"], created["session"]["model"]) == ("session.created", "gpt-realtime")
            assert created["session"]["expires_at"] > 0
            await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            assert (await socket.receive())["type"] == "session.updated"
            content: Any = [{"type": "input_text", "text": "When do you open?"}]
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            await connection.response.create()
            events = await socket.until("rate_limits.updated")
            assert kinds(events) == ASKED + WRITTEN
            usage = events[-2]["response"]["usage"]
            assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
        await until(lambda: len(one.server.sessions) == 0)

    run(test)


def test_the_synchronous_client_talks_and_listens() -> None:
    def talk(base_url: str) -> list[dict[str, Any]]:
        client = OpenAI(api_key=KEY, base_url=base_url, max_retries=0)
        events: list[dict[str, Any]] = []
        try:
            with client.realtime.connect(model="gpt-realtime") as connection:
                for start in range(0, len(SPOKEN), 4800):
                    text = base64.b64encode(SPOKEN[start : start + 4800]).decode()
                    connection.input_audio_buffer.append(audio=text)
                while not events or events[-1]["type"] != "rate_limits.updated":
                    data = msgspec.json.decode(connection.recv_bytes(), type=dict[str, Any])
                    events.append(assert_server_event(data))
        finally:
            client.close()
        return events

    async def test(one: Live) -> None:
        events = await asyncio.to_thread(talk, one.ready.http + "/v1")
        assert kinds(events)[:6] == [
            "session.created",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
        ]
        (tone,) = find_tones(resample(from_bytes(heard(events)), 24000, 8000))
        assert (tone.number, events[-2]["response"]["status"]) == (1, "completed")

    run(test)


def test_push_to_talk_a_function_and_an_answer_out_of_band() -> None:
    async def test(one: Live) -> None:
        async with one.sdk.realtime.connect(model="gpt-realtime") as connection:
            socket = Socket(connection)
            await socket.receive()
            audio: Any = {"input": {"turn_detection": None, "format": {"type": "audio/pcmu"}}}
            session: Any = {"type": "realtime", "audio": audio, "tools": [TOOL], "tool_choice": "required"}
            await connection.session.update(session=session)
            await socket.until("session.updated")
            await connection.input_audio_buffer.append(audio=base64.b64encode(b"\xff" * 4000).decode())
            await connection.input_audio_buffer.commit()
            await connection.response.create()
            events = await socket.until("rate_limits.updated")
            assert kinds(events) == ["input_audio_buffer.committed", *ASKED, *CALLED]
            (call,) = events[-2]["response"]["output"]
            output: Any = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"open": "nine"}'}
            await connection.conversation.item.create(item=output)
            await connection.response.create()
            assert heard(await socket.until("rate_limits.updated"))
            aside: Any = {"conversation": "none", "metadata": {"topic": "mood"}, "output_modalities": ["text"]}
            await connection.response.create(response=aside | {"input": [], "tool_choice": "none"})
            done = (await socket.until("response.done"))[-1]["response"]
            assert (done["conversation_id"], done["metadata"]) == (None, {"topic": "mood"})

    run(test)


@pytest.mark.parametrize("by", ["secret", "query"])
def test_transcripts_alone(by: str) -> None:
    async def test(one: Live) -> None:
        transcription: Any = {"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        query: dict[str, object] = {}
        sdk: AsyncOpenAI = one.sdk
        if by == "secret":
            made = await one.sdk.realtime.client_secrets.create(session=transcription)
            sdk = one.sdk.with_options(api_key=made.value)
        else:
            query = {"intent": "transcription"}
        async with sdk.realtime.connect(extra_query=query) as connection:
            socket = Socket(connection)
            assert (await socket.receive())["session"]["type"] == "transcription"
            await connection.session.update(session=transcription)
            await socket.until("session.updated")
            await connection.input_audio_buffer.append(audio=base64.b64encode(SPOKEN).decode())
            events = await socket.until("conversation.item.input_audio_transcription.completed")
            assert kinds(events) == [
                "input_audio_buffer.speech_started",
                "input_audio_buffer.speech_stopped",
                "input_audio_buffer.committed",
                "conversation.item.added",
                "conversation.item.done",
                "conversation.item.input_audio_transcription.delta",
                "conversation.item.input_audio_transcription.completed",
            ]
            assert events[-1]["usage"]["type"] == "duration"
            assert events[-1]["usage"]["seconds"] > 1

    run(test)


def test_several_sidebands_hear_the_same_and_each_its_own_errors() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        connect = one.sdk.realtime.connect
        async with connect(call_id=call_id) as left, connect(call_id=call_id) as right:
            sockets = Socket(left), Socket(right)
            await left.input_audio_buffer.append(audio="AAAA")
            assert (await sockets[0].until("error"))[-1]["error"]["param"] == "type"
            await left.response.create()
            first = await sockets[0].until("output_audio_buffer.stopped")
            second = await sockets[1].until("output_audio_buffer.stopped")
            assert [event["event_id"] for event in first] == [event["event_id"] for event in second]
            assert not heard(first), "a sideband has no audio"
            assert "session.created" not in kinds(sockets[1].events)
        await one.calls.hangup(call_id)
        await call.ended()

    run(test)
