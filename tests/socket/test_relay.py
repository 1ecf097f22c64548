"""Calls whose model is another offhook: the telephone and what was heard stay here, the words come from there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tests.socket.live import KEY, Live, Socket, live

from offhook.audio.tone import find_tones
from offhook.model.interface import ModelOutput
from offhook.model.scripted import HEARD, ScriptedBackend, ScriptedOptions
from offhook.session.outputs import Generate
from offhook.testing.voice import voice

TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}


class Upstream(ScriptedBackend):
    """The scripted model of the upstream, which keeps what it was asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ScriptedOptions(**options))
        self.asked: list[Generate] = []

    async def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        self.asked.append(request)
        async for output in super().respond(request):
            yield output


@contextlib.asynccontextmanager
async def relayed(model: Upstream, **flags: Any) -> AsyncIterator[tuple[Live, Live]]:
    """Start an offhook, and another one that relays to it; the sockets of the first are its sessions."""
    async with live(backend=model) as there:
        settings = {"relay_url": f"{there.ready.http}/v1/realtime", "relay_dialect": "offhook", "relay_key": KEY}
        async with live(**(settings | flags)) as here:
            yield here, there


def run(test: Callable[[Live, Live, Upstream], Awaitable[None]], model: Upstream | None = None, **flags: Any) -> None:
    async def whole() -> None:
        upstream = model or Upstream()
        async with asyncio.timeout(120), relayed(upstream, **flags) as (here, there):
            await test(here, there, upstream)

    asyncio.run(whole())


def test_a_call_is_answered_by_the_upstream_in_both_turns() -> None:
    async def test(here: Live, there: Live, upstream: Upstream) -> None:
        call, call_id = await here.talk({"instructions": "Be brief.", **TRANSCRIBED})
        async with here.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            for number in (1, 2):
                await call.say(voice(900))
                await socket.until("output_audio_buffer.stopped")
                done = [event for event in socket.events if event["type"] == "response.done"]
                assert done[-1]["response"]["status"] == "completed"
                (item,) = done[-1]["response"]["output"]
                assert item["content"][0]["transcript"] == f"Scripted answer number {number}."
            heard = [each for each in socket.events if each["type"].endswith("input_audio_transcription.completed")]
            assert [each["transcript"] for each in heard] == [HEARD, HEARD]
        assert [tone.number for tone in find_tones(call.heard)] == [1, 2]
        assert [request.instructions for request in upstream.asked] == ["Be brief."] * 2
        assert len(upstream.asked[1].items) == 3, "two turns and the answer between them, and nothing twice"
        assert len(there.server.sessions) == 1

    run(test)
