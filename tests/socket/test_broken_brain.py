"""Brains that misbehave: the call survives, the events say what happened, and the caller hears something sensible."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tests.socket.live import Live, Socket, live
from tests.socket.model_server import Received, Reply, serve
from tests.socket.test_models import delta, sse

from offhook.audio.tone import TONES, find_tones
from offhook.config import load_config
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DEMO, DemoBrain
from offhook.model.scripted import ScriptedEar, ScriptedVoice
from offhook.server import Server
from offhook.testing.phone import PhoneCall

SORRY = "Sorry, again?"
NINE = "We open at nine."
ANSWER = Reply(sse(delta(content=NINE), delta("stop")))
TOOL = {"type": "function", "name": "look_up", "parameters": {}}
HALF = {"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": '{"day": "Tu'}}
ALIVE = [b": still here\n\n"] + [f'data: {{"choices": [], "n": {number}}}\n\n'.encode() for number in range(3)]


def number(text: str) -> int:
    """The tone that the scripted voice makes of a sentence."""
    return len(text) % TONES


Test = Callable[[Live, PhoneCall, Any, Socket], Awaitable[None]]


def talk_to(replies: list[Reply], test: Test, own: dict[str, Any] | None = None, **flags: Any) -> None:
    """Call an agent whose language model gives these replies."""
    waiting: Iterator[Reply] = iter(replies)

    async def whole() -> None:
        def answer(_: Received) -> Reply:
            return next(waiting)

        async with asyncio.timeout(120), serve(answer) as model, live(llm_url=model.url, **flags) as one:
            call, call_id = await one.ring()
            body = {"offhook": {"apology": SORRY} | (own or {})}
            await one.calls.accept(call_id, type="realtime", tools=[TOOL], extra_body=body)
            await call.answered()
            async with one.sdk.realtime.connect(call_id=call_id) as connection:
                await test(one, call, connection, Socket(connection))
            assert call.end is None, "the call went through all of it"
            await call.hang_up()

    asyncio.run(whole())


FAILURES = {
    "never answers": (Reply([], hang=True), "model_timeout", "did not answer within"),
    "signs of life": (Reply(ALIVE, hang=True), "model_timeout", "did not answer within"),
    "garbage": (Reply([b"data: \x00\xff garbage\n\n"]), "model_error", "not JSON"),
    "another server": (Reply([b"<html>It works!</html>"]), "model_error", "broke off"),
    "half a call": (Reply(sse(delta(tool_calls=[HALF]))[:1], cut=True), "model_error", "broke"),
    "half a call that ends": (
        Reply(sse(delta(tool_calls=[HALF]), delta("tool_calls"))),
        "model_error",
        "a function call",
    ),
    "mid-sentence": (Reply(sse(delta(content="We open at n"))[:1], cut=True), "model_error", "broke"),
    "out of order": (Reply([b'{"error": {"message": "out of memory"}}'], 500), "model_error", "out of memory"),
}


def test_a_brain_that_fails_in_any_way_is_apologized_for_and_the_next_turn_is_answered() -> None:
    async def test(_: Live, call: PhoneCall, connection: Any, socket: Socket) -> None:
        for name, (_, code, says) in FAILURES.items():
            await connection.response.create()
            response = (await socket.until("response.done"))[-1]["response"]
            assert response["status"] == "failed", name
            error = response["status_details"]["error"]
            assert (error["code"], says in error["message"]) == (code, True), name
            calls = [item for item in response["output"] if item["type"] == "function_call"]
            assert all(item["status"] == "incomplete" for item in calls), "nobody acts on half a function call"
            await socket.until("output_audio_buffer.stopped")
            await connection.response.create()
        response = (await socket.until("response.done"))[-1]["response"]
        assert response["output"][-1]["content"][0]["transcript"] == NINE
        await socket.until("output_audio_buffer.stopped")
        heard = [each.number for each in find_tones(call.recording[:, 0], bridge_ms=400)]
        assert heard[-1] == number(NINE)
        assert number(SORRY) in heard

    talk_to([*(reply for reply, _, _ in FAILURES.values()), ANSWER], test, llm_seconds=2)


def test_a_brain_that_takes_its_time_is_bridged_and_its_answer_is_heard() -> None:
    """Twenty seconds in real life; here the brain waits until the caller was told to."""
    moment, ready = "One moment, please.", asyncio.Event()

    async def test(_: Live, call: PhoneCall, connection: Any, socket: Socket) -> None:
        await connection.response.create()
        await call.hears_sound()
        await socket.until("conversation.item.done")
        ready.set()
        response = (await socket.until("response.done"))[-1]["response"]
        assert response["status"] == "completed"
        await socket.until("output_audio_buffer.stopped")
        assert [each.number for each in find_tones(call.recording[:, 0], bridge_ms=400)] == [
            number(moment),
            number(NINE),
        ]

    late = Reply(ANSWER.pieces, after=ready)
    talk_to([late], test, {"while_waiting": {"say": moment, "after_ms": 200}})


def test_a_brain_that_fails_after_the_caller_was_told_to_wait_is_apologized_for() -> None:
    async def test(_: Live, call: PhoneCall, connection: Any, socket: Socket) -> None:
        await connection.response.create()
        await socket.until("response.done")
        await socket.until("output_audio_buffer.stopped")
        assert number(SORRY) in [each.number for each in find_tones(call.recording[:, 0])]

    talk_to([Reply([], hang=True)], test, {"while_waiting": {"tone": True, "after_ms": 200}}, llm_seconds=1)


@pytest.mark.parametrize(("flags", "says"), [({}, "demo"), ({"llm_url": "http://127.0.0.1:1/v1"}, "default at http")])
def test_which_brain_is_in_use_is_never_a_secret(flags: dict[str, Any], says: str) -> None:
    """The scripted ear and voice stand for local ones here, so that nothing has to be installed."""

    async def whole() -> None:
        server = Server(load_config({"http": "127.0.0.1:0", "sip": "127.0.0.1:0", "models": "scripted"} | flags, {}))
        if not flags:
            server.backend = Cascade(DEMO, ScriptedEar(), DemoBrain(), ScriptedVoice())
        try:
            await server.start()
            assert says in server.models()
            assert says in server.health()["models"]["brain"]["name"]
        finally:
            await server.stop()

    asyncio.run(whole())
