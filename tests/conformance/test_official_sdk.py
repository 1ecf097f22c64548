"""The official package, unmodified, against a running server: webhook, actions, sideband, and a whole program."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from openai.types import realtime as types
from tests.socket.live import KEY, SECRET, Live, Socket, run

from offhook.testing.dialler import Line, Script, Teller, follow
from offhook.testing.voice import voice

EXAMPLES = Path(__file__).parents[2] / "examples"

# One spoken turn on a telephone call, from the caller's first sound to the last sample of the answer.
TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
]
FLOATING = {
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
}


def fixed(events: list[dict[str, Any]]) -> list[str]:
    """The event types whose place the contract fixes; transcripts may come anywhere after their turn."""
    return [event["type"] for event in events if event["type"] not in FLOATING]


def test_the_synchronous_client_does_the_four_actions() -> None:
    async def test(one: Live) -> None:
        client = OpenAI(api_key=KEY, base_url=one.ready.http + "/v1", max_retries=0)
        calls = client.realtime.calls

        async def do(action: Any, *args: Any, **members: Any) -> Any:
            return await asyncio.to_thread(action, *args, **members)

        call, call_id = await one.ring()
        assert await do(calls.accept, call_id, type="realtime", model="gpt-realtime", instructions="Hi") is None
        await call.answered()
        raw = await do(calls.with_raw_response.refer, call_id, target_uri="tel:+15550123")
        assert raw.http_response.status_code == 200
        assert raw.http_response.content == b""
        assert raw.headers["x-request-id"]
        assert await do(calls.hangup, call_id) is None
        await call.ended()
        with pytest.raises(NotFoundError):
            await do(calls.hangup, call_id)
        _, other_id = await one.ring()
        assert await do(calls.reject, other_id, status_code=486) is None
        client.close()

    run(test)


def test_what_the_sdk_sends_again_does_no_harm() -> None:
    async def test(one: Live) -> None:
        again = {"x-stainless-retry-count": "1"}
        call, call_id = await one.ring()
        body = b'{"type":"realtime","instructions":"Hi"}'
        for headers in ({}, again):
            path = f"/v1/realtime/calls/{call_id}/accept"
            answer = await one.http("POST", path, content=body, headers=headers)
            assert (answer.status_code, answer.content) == (200, b"")
        with pytest.raises(BadRequestError) as caught:
            await one.calls.accept(call_id, type="realtime", instructions="Other")
        assert caught.value.code == "call_already_accepted"
        assert (await one.http("POST", f"/v1/realtime/calls/{call_id}/hangup")).status_code == 200
        assert (await one.http("POST", f"/v1/realtime/calls/{call_id}/hangup", headers=again)).status_code == 200
        assert (await one.http("POST", f"/v1/realtime/calls/{call_id}/hangup")).status_code == 404
        await call.ended()

    run(test)


def test_a_spoken_turn_on_the_sideband_has_the_contracted_order() -> None:
    async def test(one: Live) -> None:
        session = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        call, call_id = await one.talk(session)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await call.say(voice(1200, seed=1))
            events = await socket.until("output_audio_buffer.stopped")
            # The first sample goes out within 20 ms of the answer, which may be before its last words are told.
            order = [kind for kind in fixed(events) if kind != "output_audio_buffer.started"]
            assert order == [kind for kind in TURN if kind != "output_audio_buffer.started"]
            assert fixed(events).count("output_audio_buffer.started") == 1
            started = events[0]
            stopped = events[1]
            assert stopped["audio_end_ms"] - started["audio_start_ms"] >= 1200 + 300
            assert {event["type"] for event in events} >= FLOATING

    run(test)


@pytest.mark.real_time(reruns=3)
def test_a_caller_who_interrupts_is_heard_and_the_answer_is_cut_where_it_was_heard() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            await socket.until("output_audio_buffer.started")
            await call.hears_sound()
            call.begin_saying(voice(1500, seed=1))
            events = await socket.until("conversation.item.truncated")
            order = fixed(events)[-3:]
            assert order == [
                "input_audio_buffer.speech_started",
                "output_audio_buffer.cleared",
                "conversation.item.truncated",
            ]
            cut_ms = events[-1]["audio_end_ms"]
            assert 0 < cut_ms < 2000
            await call.hears_silence(300)
            first = call.conversation().heard[0]
            # A packet that a busy machine brings late leaves a gap in what is heard, and nothing else.
            heard_ms = first.end_ms - first.start_ms - first.longest_gap_ms
            assert abs(heard_ms - cut_ms) <= 40, "the ledger says what was heard"

    run(test)


def test_every_event_arrives_as_its_own_type() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        kinds: dict[str, type] = {}
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
            await connection.response.create()
            async for event in connection:
                kinds[event.type] = type(event)
                if event.type == "rate_limits.updated":
                    break
        assert kinds["session.updated"] is types.SessionUpdatedEvent
        assert kinds["response.created"] is types.ResponseCreatedEvent
        assert kinds["conversation.item.added"] is types.ConversationItemAdded
        assert kinds["response.done"] is types.ResponseDoneEvent
        assert kinds["rate_limits.updated"] is types.RateLimitsUpdatedEvent
        await call.hang_up()

    run(test)


def test_a_function_call_goes_there_and_back() -> None:
    async def test(one: Live) -> None:
        tool = {"type": "function", "name": "opening_hours", "parameters": {"type": "object", "properties": {}}}
        _, call_id = await one.talk({"tools": [tool], "tool_choice": "required"})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            events = await socket.until("rate_limits.updated")
            assert fixed(events) == [
                "response.created",
                "response.output_item.added",
                "conversation.item.added",
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "conversation.item.done",
                "response.output_item.done",
                "response.done",
                "rate_limits.updated",
            ]
            called = events[-2]["response"]["output"][0]
            await connection.conversation.item.create(
                item={"type": "function_call_output", "call_id": called["call_id"], "output": "nine to five"}
            )
            await connection.response.create()
            events = await socket.until("response.done")
            assert events[-1]["response"]["output"][0]["content"][0]["transcript"]

    run(test)


def test_a_socket_that_the_server_closes_ends_the_iteration_quietly() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await one.calls.hangup(call_id)
            seen = [event.type async for event in connection]
        assert "error" not in seen
        await call.ended()

    run(test)


def test_the_example_program_answers_a_call() -> None:
    """The program in examples/ knows nothing of offhook but its address."""

    async def test(one: Live) -> None:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-u",
            str(EXAMPLES / "receptionist.py"),
            "--port",
            "0",
            stdout=asyncio.subprocess.PIPE,
            env=os.environ
            | {"OPENAI_BASE_URL": one.ready.http + "/v1", "OPENAI_API_KEY": KEY, "OPENAI_WEBHOOK_SECRET": SECRET},
        )
        assert program.stdout is not None
        try:
            url = (await program.stdout.readline()).decode().split()[-1]
            one.redirect_webhooks(url)
            call = await one.dial()
            script = Script(
                (Line("a question", voice(1000)), Line("an interruption", voice(900), 0.5)), listen_first=True
            )
            await follow(call, script, Teller(lambda _: None))
            await call.hang_up()
            said: list[str] = []
            while not said or said[-1] != "the call is over":
                said.append((await asyncio.wait_for(program.stdout.readline(), 20)).decode().strip())
        finally:
            program.terminate()
            await program.wait()
        assert said[0] == "a call from <sip:offhook@127.0.0.1>"
        assert sum("the agent says" in line for line in said) >= 3
        assert sum("the caller speaks" in line for line in said) >= 2
        assert "the agent is interrupted" in said
        assert any(line.startswith("the agent asks opening_hours(") for line in said)
        conversation = call.conversation()
        assert len(conversation.barge_ins) >= 1

    run(test)
