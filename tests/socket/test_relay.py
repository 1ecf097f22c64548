"""Calls whose model is another offhook: the telephone and what was heard stay here, the words come from there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.socket.cord import Cord, cord_to
from tests.socket.live import KEY, Live, Socket, live, until
from tests.socket.model_server import Received, Reply, serve
from tests.socket.test_sessions_live import FORMATS, PCM, SPOKEN_TURN, opened, sound, types
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_sockets

from offhook import server as wiring
from offhook.audio.pcm import Samples, silence
from offhook.audio.tone import find_tones
from offhook.model.interface import ModelOutput, Speech, Words
from offhook.model.relay import RelayBackend, Upstream, UpstreamLostError, UpstreamOptions
from offhook.model.scripted import HEARD, ScriptedBackend, ScriptedOptions
from offhook.session.outputs import Generate
from offhook.session.relay import limits
from offhook.testing.clock import JumpLoop
from offhook.testing.voice import voice
from offhook.wire.items import FunctionCallOutput, Message, OutputAudio
from offhook.wire.session import TranscriptionEcho

NAMED = {"transcription": {"model": "whisper-1"}}
TRANSCRIBED = {"audio": {"input": NAMED}}


class Model(ScriptedBackend):
    """The scripted model of the upstream, which keeps what it was asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ScriptedOptions(**options))
        self.asked: list[Generate] = []

    async def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        self.asked.append(request)
        async for output in super().respond(request):
            yield output


@dataclass
class Relayed:
    """``here`` takes the calls, ``there`` answers them, and ``cord`` is between the two."""

    here: Live
    there: Live
    model: Model
    cord: Cord

    @contextlib.asynccontextmanager
    async def sideband(self, call_id: str) -> AsyncIterator[tuple[Any, Socket]]:
        async with self.here.sdk.realtime.connect(call_id=call_id) as connection:
            yield connection, Socket(connection)


def run(
    test: Callable[[Relayed], Awaitable[None]],
    *,
    key: str = KEY,
    answer_ms: int = 500,
    model: Model | None = None,
    **flags: Any,
) -> None:
    """Run a test with an offhook, and another one that relays to it."""

    async def whole() -> None:
        there_model = model or Model(answer_ms=answer_ms)
        async with asyncio.timeout(120), live(backend=there_model) as there:
            host, port = there.ready.http.removeprefix("http://").split(":")
            async with cord_to(host, int(port)) as cord:
                relay = {"relay_url": f"ws://127.0.0.1:{cord.port}", "relay_dialect": "offhook", "relay_key": key}
                async with live(**(relay | flags)) as here:
                    await test(Relayed(here, there, there_model, cord))

    with asyncio.Runner(loop_factory=JumpLoop) as runner:
        runner.run(whole())


def done(socket: Socket) -> list[dict[str, Any]]:
    return [event["response"] for event in socket.events if event["type"] == "response.done"]


def test_a_call_is_answered_by_the_upstream_in_both_turns() -> None:
    async def test(each: Relayed) -> None:
        call, call_id = await each.here.talk({"instructions": "Be brief.", **TRANSCRIBED})
        async with each.sideband(call_id) as (_, socket), each.sideband(call_id) as (second, other):
            await second.session.update(session={"type": "realtime", "instructions": "Be very brief."})
            for number in (1, 2):
                await call.say(voice(900))
                await socket.until("output_audio_buffer.stopped")
                response = done(socket)[-1]
                assert response["status"] == "completed"
                (item,) = response["output"]
                assert item["content"][0]["transcript"] == f"Scripted answer number {number}."
            await other.until("session.updated")
            while [event["event_id"] for event in other.events] != [event["event_id"] for event in socket.events]:
                await other.receive()
            heard = [event for event in socket.events if event["type"].endswith("transcription.completed")]
            assert [event["transcript"] for event in heard] == [HEARD, HEARD]
            assert "response.output_audio.delta" not in {event["type"] for event in socket.events}
        assert [tone.number for tone in find_tones(call.heard)] == [1, 2]
        assert [request.instructions for request in each.model.asked] == ["Be very brief."] * 2
        assert len(each.model.asked[1].items) == 3, "two turns and the answer between them, and nothing twice"
        assert len(each.there.server.sessions) == 1
        await call.hang_up()
        await until(lambda: not len(each.there.server.sessions))

    run(test)


class SlowEar(Model):
    """It hears when it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.may_hear = asyncio.Event()

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        await self.may_hear.wait()
        async for words in super().transcribe(speech, wanted):
            yield words


def test_what_was_said_last_is_told_after_the_caller_has_hung_up() -> None:
    async def test(each: Relayed) -> None:
        call, call_id = await each.here.talk(TRANSCRIBED)
        async with each.sideband(call_id) as (_, socket):
            await call.say(voice(900))
            await socket.until("input_audio_buffer.committed")
            await call.hang_up()
            assert isinstance(each.model, SlowEar)
            each.model.may_hear.set()
            events = await socket.until("conversation.item.input_audio_transcription.completed")
            assert events[-1]["transcript"] == HEARD

    run(test, model=SlowEar(answer_ms=500))


SEMANTIC = {"turn_detection": {"type": "semantic_vad"}}


def silence_before_the_end_ms(listening: dict[str, Any], **flags: Any) -> int:
    """Return how long a caller was silent when the turn ended."""
    silences: list[int] = []

    async def test(each: Relayed) -> None:
        call, call_id = await each.here.talk({"audio": {"input": listening}})
        async with each.sideband(call_id) as (_, socket):
            await call.say(np.concatenate([silence(500 * 8), voice(900)]))
            events = await socket.until("response.done")
            assert events[-1]["response"]["status"] == "completed"
            (started,) = (event for event in events if event["type"] == "input_audio_buffer.speech_started")
            (stopped,) = (event for event in events if event["type"] == "input_audio_buffer.speech_stopped")
            silences.append(stopped["audio_end_ms"] - started["audio_start_ms"] - 300 - 900)

    run(test, **flags)
    return silences[0]


class Sure:
    """A detector that hears in every voice that all was said."""

    name = "sure"

    def probability(self, samples: Samples, rate_hz: int) -> float:
        return 0.95


@pytest.mark.parametrize("listening", [SEMANTIC, SEMANTIC | TRANSCRIBED["audio"]["input"]], ids=["mute", "transcribed"])
def test_a_detector_of_sound_ends_the_turns_of_a_relay(
    listening: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Symptom: with a detector every turn ended as late as half a sentence does, and it was never asked."""
    monkeypatch.setattr(wiring, "load_turn_end", lambda _: Sure())
    assert silence_before_the_end_ms(listening, turn_detector="sure") < 600


def test_what_nobody_reads_is_not_queued_for_ever() -> None:
    now = 0.0
    upstream = Upstream(UpstreamOptions("ws://127.0.0.1:1"), "m", lambda: now)
    mebibyte = bytes(1024 * 1024)
    assert all(upstream.send(mebibyte) for _ in range(10)), "a conversation is queued before any of it can be sent"
    now += limits.MAX_UNSENT_S
    assert not upstream.send(b"{}")


def test_what_is_queued_at_once_is_bounded() -> None:
    upstream = Upstream(UpstreamOptions("ws://127.0.0.1:1"), "m", lambda: 0.0)
    mebibyte = bytes(1024 * 1024)
    assert [upstream.send(mebibyte) for _ in range(100)].count(True) == limits.MAX_HISTORY_BYTES // len(mebibyte) + 1


def test_a_conversation_with_large_pictures_is_answered() -> None:
    heard: list[str] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "session.created", "session": {}}))
        async for text in socket:
            heard.append(json.loads(text)["type"])
            if heard[-1] == "response.create":
                await socket.send(json.dumps({"type": "response.created", "response": {"id": "r"}}))
                await socket.send(json.dumps({"type": "response.done", "response": {"id": "r"}}))

    async def whole() -> None:
        async with asyncio.timeout(60), serve_sockets(talk, "127.0.0.1", 0, max_size=None) as upstream:
            url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
            async with live(relay_url=url) as here, opened(here) as client:
                picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 1_500_000}
                for _ in range(4):
                    item = {"type": "message", "role": "user", "content": [picture]}
                    await client.send("conversation.item.create", item=item)
                await client.send("response.create")
                assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"

    asyncio.run(whole())
    assert heard.count("conversation.item.create") == 4
    assert heard.count("session.update") == 1, "on the first connection"


def test_a_barge_in_stops_the_upstream_and_cuts_what_it_remembers() -> None:
    async def test(each: Relayed) -> None:
        call, call_id = await each.here.talk(TRANSCRIBED)
        async with each.sideband(call_id) as (connection, socket):
            await connection.response.create()
            await call.hears_sound()
            await call.say(voice(900))
            while len(done(socket)) < 2:
                await socket.receive()
            cut = next(event for event in socket.events if event["type"] == "conversation.item.truncated")
        assert 0 < cut["audio_end_ms"] < 4000
        (said,) = (item for item in each.model.asked[1].items if isinstance(item, Message) and item.role == "assistant")
        assert said.status == "incomplete"
        (part,) = said.content
        assert isinstance(part, OutputAudio)
        assert part.transcript != "Scripted answer number 1."

    run(test, answer_ms=4000)


def test_a_call_outlives_its_connection_to_the_upstream() -> None:
    async def test(each: Relayed) -> None:
        call, call_id = await each.here.talk(TRANSCRIBED)
        async with each.sideband(call_id) as (connection, socket):
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Remember me."}]}
            await connection.conversation.item.create(item=item)
            await connection.response.create()
            await socket.until("output_audio_buffer.stopped")
            each.cord.cut()
            await until(lambda: each.cord.opened == 2)
            await connection.response.create()
            await socket.until("output_audio_buffer.stopped")
            assert [response["status"] for response in done(socket)] == ["completed", "completed"]
            each.cord.swallows = True
            await connection.response.create()
            await socket.until("response.created")
            each.cord.cut()
            each.cord.swallows = False
            await socket.until("response.done")
            assert done(socket)[-1]["status_details"]["error"]["code"] == "server_error"
            await connection.response.create()
            await socket.until("response.done")
            assert done(socket)[-1]["status"] == "completed"
            assert "session.created" not in {event["type"] for event in socket.events}
        counted = (await each.here.http("GET", "/metrics")).text
        assert 'offhook_upstream_connections_total{result="opened"} 3' in counted
        assert 'offhook_upstream_connections_total{result="lost"} 2' in counted
        texts = [str(item) for item in each.model.asked[1].items]
        assert len(texts) == 2
        assert "Remember me." in texts[0]
        assert "Scripted answer number 1." in texts[1]
        assert call.end is None

    run(test)


def test_a_wrong_key_fails_the_responses_and_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def test(each: Relayed) -> None:
        call, call_id = await each.here.talk()
        async with each.sideband(call_id) as (connection, socket):
            for _ in range(2):
                await connection.response.create()
                await socket.until("response.done")
                assert done(socket)[-1]["status_details"]["error"]["message"].endswith("HTTP 401.")
        assert call.end is None
        assert each.cord.opened == 1, "it would be refused again"
        shown = (await each.here.http("GET", "/offhook/v1/health")).text
        assert wrong not in shown + caplog.text + str(socket.events)

    wrong = "sk-not-this-one"
    run(test, key=wrong)


def test_an_upstream_that_never_answers_fails_the_response_and_not_the_call() -> None:
    async def test(each: Relayed) -> None:
        each.cord.swallows = True
        call, call_id = await each.here.talk()
        async with each.sideband(call_id) as (connection, socket):
            await connection.response.create()
            await socket.until("response.done")
            assert done(socket)[-1]["status"] == "failed"
        assert call.end is None

    run(test, relay_seconds=0.5)


def test_a_key_is_not_carried_to_where_an_upstream_redirects() -> None:
    async def whole() -> None:
        async with asyncio.timeout(120), serve(lambda _: Reply([b"{}"])) as elsewhere:

            def away(_: Received) -> Reply:
                return Reply([], status=302, headers={"location": elsewhere.url.replace("http", "ws")})

            async with serve(away) as upstream, live(relay_url=upstream.url, relay_key="sk-secret") as here:
                _, call_id = await here.talk()
                async with here.sdk.realtime.connect(call_id=call_id) as connection:
                    socket = Socket(connection)
                    await connection.response.create()
                    await socket.until("response.done")
                    assert done(socket)[-1]["status_details"]["error"]["message"].endswith("HTTP 302.")
                assert upstream.received[0].headers["authorization"] == "Bearer sk-secret"
                assert not elsewhere.received

    asyncio.run(whole())


@pytest.mark.parametrize(("status", "is_final"), [(400, True), (402, True), (404, True), (429, False), (503, False)])
def test_an_answer_that_would_be_the_same_the_next_time_is_final(status: int, is_final: bool) -> None:
    async def whole() -> None:
        async with asyncio.timeout(60), serve(lambda _: Reply([], status=status)) as upstream:
            with pytest.raises(UpstreamLostError) as lost:
                await RelayBackend(UpstreamOptions(upstream.url)).greeting("m")
            assert lost.value.is_refused is is_final

    asyncio.run(whole())


def test_an_upstream_that_talks_nonsense_costs_its_responses_and_no_call() -> None:
    async def talk(socket: ServerConnection) -> None:
        for text in ("{", "[]", json.dumps({"type": "error"}), json.dumps({"type": "response.done"}), b"\x00\xff"):
            await socket.send(text)
        async for text in socket:
            if "response.create" in str(text):
                await socket.send(json.dumps({"type": "response.created", "response": {"id": 5}}))
                await socket.send(json.dumps({"type": "response.created", "response": {"id": "r"}}))
                await socket.send(json.dumps({"type": "response.output_audio.delta", "response_id": "r", "delta": "?"}))
                await socket.close(1011)

    async def whole() -> None:
        async with asyncio.timeout(120), serve_sockets(talk, "127.0.0.1", 0) as upstream:
            port = upstream.sockets[0].getsockname()[1]
            async with live(relay_url=f"ws://127.0.0.1:{port}") as here:
                call, call_id = await here.talk()
                async with here.sdk.realtime.connect(call_id=call_id) as connection:
                    socket = Socket(connection)
                    for _ in range(2):
                        await connection.response.create()
                        await socket.until("response.done")
                        assert done(socket)[-1]["status"] == "failed"
                assert call.end is None

    asyncio.run(whole())


PROVIDERS = {
    "openai": ("/v1/realtime?model=there", "authorization", "Bearer sk-there", "response.create"),
    "azure": ("/openai/v1/realtime?model=there", "api-key", "sk-there", "response.create"),
    "xai": ("/v1/realtime?model=there", "authorization", "Bearer sk-there", "input_audio_buffer.commit"),
    "vllm-omni": ("/v1/realtime?model=there", "authorization", "Bearer sk-there", "response.create"),
}


@pytest.mark.parametrize("dialect", PROVIDERS)
def test_a_provider_is_called_where_and_as_it_wants_to_be(dialect: str) -> None:
    path, header, key, asks = PROVIDERS[dialect]
    requests: list[tuple[str, str | None]] = []
    heard: list[dict[str, Any]] = []

    async def talk(socket: ServerConnection) -> None:
        assert socket.request is not None
        requests.append((socket.request.path, socket.request.headers.get(header)))
        await socket.send(json.dumps({"type": "session.created", "session": {}}))
        async for text in socket:
            heard.append(json.loads(text))
            if heard[-1]["type"] == asks:
                audio = base64.b64encode(bytes(48_000)).decode()
                where = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
                for event in (
                    {"type": "response.created", "response": {"id": "r"}},
                    {"type": "response.output_audio_transcript.delta", "delta": "We open at nine.", **where},
                    {"type": "response.output_audio.delta", "delta": audio, **where},
                    {"type": "response.done", "response": {"id": "r", "status": "completed"}},
                ):
                    await socket.send(json.dumps(event))

    async def whole() -> None:
        async with asyncio.timeout(60), serve_sockets(talk, "127.0.0.1", 0) as upstream:
            url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
            flags = {"relay_dialect": dialect, "relay_model": "there", "relay_key": "sk-there"}
            async with live(relay_url=url, **flags) as here, opened(here) as client:
                await client.append(PCM)
                events = await client.until("response.done")
                assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "We open at nine."
                assert abs(len(sound(events)) - 48_000) <= 960, "a second, in the format of the client"

    asyncio.run(whole())
    assert requests == [(path, key)]
    appended = b"".join(base64.b64decode(each["audio"]) for each in heard if "audio" in each)
    assert len(appended) > 48_000, "the turn, as linear samples"


@pytest.mark.parametrize("name", FORMATS)
def test_a_session_on_a_socket_is_answered_in_its_format_and_in_the_usual_order(name: str) -> None:
    audio_format, audio = FORMATS[name]

    async def test(each: Relayed) -> None:
        async with opened(each.here) as client:
            assert (await client.receive())["type"] == "session.created"
            await client.update(audio={"input": {"format": audio_format}, "output": {"format": audio_format}})
            await client.append(audio)
            events = await client.until("rate_limits.updated")
            assert types(events) == SPOKEN_TURN
            assert events[-2]["response"]["status"] == "completed"
            per_ms = {"pcm": 48}.get(name, 8)
            assert abs(len(sound(events)) - 500 * per_ms) <= 10 * per_ms
            assert each.there.server.sessions.total == 1

    run(test)


def test_a_transcription_session_gets_the_words_that_the_upstream_heard() -> None:
    async def test(each: Relayed) -> None:
        async with opened(each.here, "?intent=transcription") as client:
            assert (await client.receive())["session"]["type"] == "transcription"
            wanted = {"type": "transcription", "audio": {"input": {"transcription": {"model": "there"}}}}
            await client.send("session.update", session=wanted)
            await client.until("session.updated")
            await client.append(PCM)
            events = await client.until("conversation.item.input_audio_transcription.completed")
            assert events[-1]["transcript"] == HEARD
            (session,) = each.there.server.sessions._active.values()
            assert session.engine.session.audio.input.transcription.model == "there"
        assert not each.model.asked

    run(test)


def test_a_function_is_called_and_its_output_goes_upstream() -> None:
    async def test(each: Relayed) -> None:
        async with opened(each.here) as client:
            tools = [{"type": "function", "name": "hours", "parameters": {"type": "object", "properties": {}}}]
            await client.update(tools=tools, tool_choice="required")
            await client.send("response.create")
            (call,) = (await client.until("response.done"))[-1]["response"]["output"]
            assert (call["type"], call["name"], call["arguments"]) == ("function_call", "hours", "{}")
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "nine to five"}
            await client.send("conversation.item.create", item=output)
            await client.send("response.create")
            assert (await client.until("response.done"))[-1]["response"]["status"] == "completed"
        last = each.model.asked[-1].items[-1]
        assert isinstance(last, FunctionCallOutput)
        assert (last.call_id, last.output) == (call["call_id"], "nine to five")

    run(test)


def test_an_upstream_can_be_tried_before_it_is_needed() -> None:
    async def test(each: Relayed) -> None:
        url = each.there.ready.http
        await RelayBackend(UpstreamOptions(url, "offhook", key=KEY)).greeting("gpt-realtime")
        with pytest.raises(UpstreamLostError, match="HTTP 401"):
            await RelayBackend(UpstreamOptions(url, "offhook", key="sk-other")).greeting("gpt-realtime")
        with pytest.raises(UpstreamLostError, match="characters"):
            await RelayBackend(UpstreamOptions(url, "offhook", "m" * 2000, key=KEY)).greeting("gpt-realtime")

    run(test)


def test_an_upstream_that_finds_the_turns_is_answered_to_and_interrupted_as_always() -> None:
    async def test(each: Relayed) -> None:
        detection = {"type": "server_vad", "silence_duration_ms": 300}
        call, call_id = await each.here.talk({"audio": {"input": {"turn_detection": detection, **NAMED}}})
        async with each.sideband(call_id) as (_, socket):
            await until(lambda: bool(each.there.server.sessions._active))
            (session,) = each.there.server.sessions._active.values()
            await until(lambda: session.engine.session.audio.input.turn_detection is not None)
            await call.say(voice(900))
            await socket.until("output_audio_buffer.started")
            await call.say(voice(900))
            await socket.until("conversation.item.truncated")
            cut = socket.events[-1]["audio_end_ms"]
            assert 0 < cut < 8000
            await socket.until("output_audio_buffer.started")
            heard = [event for event in socket.events if event["type"].endswith("transcription.completed")]
            assert [event["transcript"] for event in heard][:1] == [HEARD]
            found = session.engine.session.audio.input.turn_detection
            assert (found.create_response, found.interrupt_response, found.silence_duration_ms) == (False, False, 300)
            assert {type(item).__name__ for item in each.model.asked[-1].items} == {"Message"}
            assert [item.role for item in each.model.asked[-1].items] == ["user", "assistant", "user"]
        assert each.here.server.plane.load().vad_judged == 0, "nobody listens for turns here"

    run(test, answer_ms=8000, relay_turns="upstream")


def test_a_relayed_call_costs_what_upstream_counted_also_of_an_answer_that_was_cut(tmp_path: Path) -> None:
    counted = {"total_tokens": 1500, "input_tokens": 1000, "output_tokens": 500}

    async def answer(socket: ServerConnection) -> None:
        await socket.send(json.dumps({"type": "session.created", "session": {}}))
        async for text in socket:
            kind = json.loads(text)["type"]
            if kind == "response.create":
                await socket.send(json.dumps({"type": "response.created", "response": {"id": "r"}}))
                members = {"response_id": "r", "item_id": "i", "delta": "We open at"}
                await socket.send(json.dumps({"type": "response.output_audio_transcript.delta", **members}))
            if kind == "response.cancel":
                response = {"id": "r", "status": "cancelled", "usage": counted}
                await socket.send(json.dumps({"type": "response.done", "response": response}))

    toml = tmp_path / "offhook.toml"
    prices = "per_million_input_tokens = 1\nper_million_output_tokens = 2\nper_audio_minute = 1"
    toml.write_text(f"[prices.relay]\n{prices}\n", encoding="utf-8")

    async def whole() -> None:
        async with asyncio.timeout(60), serve_sockets(answer, "127.0.0.1", 0) as upstream:
            url = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}"
            async with live(relay_url=url, toml=toml) as here:
                call, call_id = await here.talk({"instructions": "Be brief. " * 1000})
                async with here.sdk.realtime.connect(call_id=call_id) as connection:
                    socket = Socket(connection)
                    await connection.response.create()
                    await socket.until("response.output_audio_transcript.delta")
                    await connection.response.cancel()
                    await socket.until("response.done")
                    parts: list[dict[str, Any]] = []
                    while not parts:
                        parts = (await here.record(call_id))["cost"]["parts"]
                    (part,) = parts
                    assert (part["part"], part["backend"]) == ("backend", "relay")
                    assert (part["amount"], part["estimated"]) == (0.002, False)
                    await connection.response.create()
                    await socket.until("response.output_audio_transcript.delta")
                    await call.hang_up()
                await call.ended()
                while part["amount"] == 0.002:
                    (part,) = (await here.record(call_id))["cost"]["parts"]
                assert part["estimated"], "the hang-up cut the second answer, and the connection"
                assert 0.004 < part["amount"] < 0.006

    asyncio.run(whole())


def test_an_open_microphone_whose_turns_upstream_finds_is_kept_for_seconds_only() -> None:
    async def test(each: Relayed) -> None:
        async with opened(each.here) as client:
            await until(lambda: bool(each.there.server.sessions._active))
            (here,) = each.here.server.sessions._active.values()
            for _ in range(60):
                await client.append(bytes(48_000))
                await asyncio.sleep(1.0)
            assert here.line._kept.kept_ms <= 20_000

    run(test, relay_turns="upstream")
