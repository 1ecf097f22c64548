"""Sessions on sockets of their own: audio in events, answers in events, and nobody's telephone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from tests.oracle import assert_server_event
from tests.socket.live import KEY, PATIENCE_S, Live, run, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import from_bytes, silence, to_bytes
from offhook.audio.resample import resample
from offhook.audio.tone import find_tones
from offhook.testing.voice import voice

SPOKEN = np.concatenate([silence(4000), voice(1200, seed=1), silence(8000)])
PCM = to_bytes(resample(SPOKEN, 8000, 24000))
FORMATS: dict[str, tuple[dict[str, Any], bytes]] = {
    "pcm": ({"type": "audio/pcm", "rate": 24000}, PCM),
    "pcmu": ({"type": "audio/pcmu"}, g711.encode(SPOKEN, Codec.PCMU)),
    "pcma": ({"type": "audio/pcma"}, g711.encode(SPOKEN, Codec.PCMA)),
}


class Client:
    """A bare socket; every event is judged before a test sees it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []

    async def send(self, type_: str, **members: Any) -> None:
        await self.connection.send(json.dumps({"type": type_, **members}))

    async def append(self, audio: bytes, *, piece: int = 9600) -> None:
        for start in range(0, len(audio), piece):
            text = base64.b64encode(audio[start : start + piece]).decode()
            await self.send("input_audio_buffer.append", audio=text)

    async def receive(self) -> dict[str, Any]:
        event = assert_server_event(await asyncio.wait_for(self.connection.recv(), PATIENCE_S))
        self.events.append(event)
        return event

    async def until(self, type_: str) -> list[dict[str, Any]]:
        events = [await self.receive()]
        while events[-1]["type"] != type_:
            events.append(await self.receive())
        return events

    async def update(self, **session: Any) -> dict[str, Any]:
        await self.send("session.update", session={"type": "realtime", **session})
        return (await self.until("session.updated"))[-1]["session"]

    async def closed(self) -> tuple[int, str]:
        try:
            while True:
                await self.receive()
        except ConnectionClosed as end:
            assert end.rcvd is not None
            return end.rcvd.code, end.rcvd.reason


@contextlib.asynccontextmanager
async def opened(
    one: Live, query: str = "?model=gpt-realtime", key: str = KEY, **options: Any
) -> AsyncIterator[Client]:
    url = one.ready.http.replace("http", "ws", 1) + "/v1/realtime" + query
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with connect(url, additional_headers=headers, max_size=None, **options) as connection:
        yield Client(connection)


def types(events: list[dict[str, Any]]) -> list[str]:
    """Event types in order; what is repeated stands once."""
    kinds = [event["type"].removeprefix("response.") for event in events]
    return [kind for index, kind in enumerate(kinds) if index == 0 or kinds[index - 1] != kind]


def sound(events: list[dict[str, Any]]) -> bytes:
    deltas = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
    return b"".join(map(base64.b64decode, deltas))


SPOKEN_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "created",
    "output_item.added",
    "conversation.item.added",
    "content_part.added",
    "output_audio_transcript.delta",
    "output_audio.delta",
    "output_audio.done",
    "output_audio_transcript.done",
    "content_part.done",
    "conversation.item.done",
    "output_item.done",
    "done",
    "rate_limits.updated",
]


@pytest.mark.parametrize("name", FORMATS)
def test_a_spoken_turn_is_answered_in_the_format_that_was_asked_for(name: str) -> None:
    audio_format, audio = FORMATS[name]

    async def test(one: Live) -> None:
        async with opened(one) as client:
            created = await client.receive()
            assert created["type"] == "session.created"
            assert created["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
            shown = await client.update(audio={"input": {"format": audio_format}, "output": {"format": audio_format}})
            assert shown["audio"]["output"]["format"] == audio_format
            await client.append(audio)
            events = await client.until("rate_limits.updated")
            assert types(events) == SPOKEN_TURN
            assert 200 <= events[0]["audio_start_ms"] <= 500
            assert 2100 <= events[1]["audio_end_ms"] <= 2300
            answer = sound(events)
            samples = {
                "pcm": lambda: resample(from_bytes(answer), 24000, 8000),
                "pcmu": lambda: g711.decode(answer, Codec.PCMU),
                "pcma": lambda: g711.decode(answer, Codec.PCMA),
            }[name]()
            assert len(samples) == 16000, "two seconds, to the sample"
            (heard,) = find_tones(samples)
            assert heard.number == 1
        await until(lambda: len(one.server.sessions) == 0)

    run(test)
