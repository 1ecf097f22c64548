"""A caller is understood by the local recogniser: from the telephone to what the language model is asked."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from tests.recorded import errors, said
from tests.socket.live import Live, Socket, be_patient, live, part_of
from tests.socket.model_server import Received, Reply, serve
from tests.socket.test_models import delta, sse

from offhook.audio.pcm import to_bytes
from offhook.audio.tone import tone
from offhook.model.local.whisper.folder import is_installed

pytestmark = pytest.mark.skipif(not is_installed("tiny.en"), reason="local speech is not installed: offhook[local]")
HEARS = {
    "audio": {"input": {"transcription": {"model": "whisper-1"}}},
    "include": ["item.input_audio_transcription.logprobs"],
}
COMPLETED = "conversation.item.input_audio_transcription.completed"


def with_local_ear(test: object) -> list[Received]:
    """Run a test against a server that hears by itself; return what the language model was asked."""
    asked: list[Received] = []

    def answer(received: Received) -> Reply:
        asked.append(received)
        if received.path.endswith("/audio/speech"):
            return Reply([to_bytes(tone(1, 400, 8000))], content_type="audio/pcm")
        return Reply(sse(delta(content="At nine."), delta("stop")))

    async def whole() -> None:
        async with asyncio.timeout(120), serve(answer) as host:
            flags = {"llm_url": host.url, "tts_url": host.url, "tts_rate": 8000, "models": "local", "stt_workers": 1}
            async with live(**flags) as one:
                await test(one)  # type: ignore[operator]

    asyncio.run(whole())
    return [each for each in asked if each.path.endswith("/chat/completions")]


def test_what_a_caller_says_reaches_the_model_and_the_application() -> None:
    question = "Can you tell me when you are open on Saturdays?"

    async def test(one: Live) -> None:
        call, call_id = await one.talk(HEARS)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await call.say(said(question))
            heard = (await socket.until(COMPLETED))[-1]
            assert errors(heard["transcript"], question)[0] == 0
            assert "".join(each["token"] for each in heard["logprobs"]) == heard["transcript"]
            await socket.until("response.done")

    (asked,) = with_local_ear(test)
    assert errors(str(asked.json["messages"][-1]["content"]), question)[0] == 0  # type: ignore[index]


def test_a_turn_is_heard_although_what_hears_it_dies_meanwhile() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk(HEARS)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            ear = part_of(one, "_hearing")
            be_patient(ear)
            (pid,) = ear.pids
            os.kill(pid, signal.SIGSTOP)  # it hangs, and is killed while it has the turn
            await call.say(said("Hello, are you there?"))
            await socket.until("input_audio_buffer.committed")
            os.kill(pid, signal.SIGKILL)
            heard = (await socket.until(COMPLETED))[-1]
            assert errors(heard["transcript"], "Hello, are you there?")[0] == 0
            assert call.end is None
            assert ear.counters.retried == 1

    with_local_ear(test)
