"""Sessions on sockets of their own: audio in events, answers in events, and nobody's telephone."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import BadRequestError
from tests.oracle import assert_server_event
from tests.socket.live import KEY, PATIENCE_S, Live, run_jumping, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import from_bytes, silence, to_bytes
from offhook.audio.resample import resample
from offhook.audio.tone import TONES, find_tones
from offhook.host.admission import Load
from offhook.host.sideband import Closing
from offhook.testing.voice import voice
from offhook.wire import limits

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
    async with connect(url, additional_headers=headers, max_size=None, max_queue=None, **options) as connection:
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

    run_jumping(test)


def test_nothing_depends_on_how_the_audio_was_cut_or_how_fast_it_came() -> None:
    async def test(one: Live) -> None:
        found = []
        for piece in (960, 4802, len(PCM)):
            async with opened(one) as client:
                await client.until("session.created")
                await client.append(PCM + PCM, piece=piece)
                events = await client.until("input_audio_buffer.speech_stopped")
                events += await client.until("input_audio_buffer.speech_stopped")
                positions = [event.get("audio_start_ms", event.get("audio_end_ms")) for event in events]
                found.append([each for each in positions if each is not None])
        assert found[0] == found[1] == found[2]
        assert len(found[0]) == 4

    run_jumping(test)


def test_a_manual_turn_is_all_that_was_appended_before_the_commit() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.update(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
            await client.append(PCM)
            await client.send("input_audio_buffer.commit")
            await client.append(bytes(48 * 100))
            item = (await client.until("conversation.item.done"))[-1]["item"]
            await client.send("conversation.item.retrieve", item_id=item["id"])
            events = await client.until("conversation.item.retrieved")
            assert base64.b64decode(events[-1]["item"]["content"][0]["audio"]) == PCM
            await client.send("response.create")
            assert sound(await client.until("response.done"))

    run_jumping(test)


def test_speech_interrupts_an_answer_that_is_under_way() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.append(PCM)
            await client.until("response.output_audio.done")
            done = (await client.until("response.done"))[-1]["response"]
            await client.append(PCM[: len(PCM) // 2])
            await client.until("input_audio_buffer.speech_started")
            item = done["output"][0]
            await client.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=700)
            cut = (await client.until("conversation.item.truncated"))[-1]
            assert (cut["item_id"], cut["audio_end_ms"]) == (item["id"], 700)

    run_jumping(test)


@pytest.mark.parametrize("query", ["?intent=transcription", ""])
def test_a_transcription_session_gives_the_words_of_every_turn(query: str) -> None:
    async def test(one: Live) -> None:
        key = KEY
        if not query:
            session = {"type": "transcription", "audio": {"input": {"format": {"type": "audio/pcmu"}}}}
            key = (await one.sdk.realtime.client_secrets.create(session=session)).value  # type: ignore[arg-type]
        async with opened(one, query, key) as client:
            created = await client.receive()
            assert created["session"]["type"] == "transcription"
            await client.append(PCM if query else FORMATS["pcmu"][1])
            events = await client.until("conversation.item.input_audio_transcription.completed")
            assert events[-1]["transcript"]
            await client.send("response.create")
            error = (await client.until("error"))[-1]["error"]
            assert error["param"] == "type"
            assert not [each for each in client.events if each["type"].startswith("response.")]

    run_jumping(test)


def test_a_transcription_by_speakers_tells_who_said_what() -> None:
    async def test(one: Live) -> None:
        async with opened(one, "?intent=transcription") as client:
            audio = {"input": {"transcription": {"model": "gpt-4o-transcribe-diarize"}}}
            await client.send("session.update", session={"type": "transcription", "audio": audio})
            await client.append(PCM)
            events = await client.until("conversation.item.input_audio_transcription.completed")
            (segment,) = (each for each in events if each["type"].endswith(".segment"))
            assert (segment["item_id"], segment["text"]) == (events[-1]["item_id"], events[-1]["transcript"])
            assert 0 == segment["start"] < segment["end"]

    run_jumping(test)


def test_a_function_at_work_is_bridged_by_a_sentence_where_the_client_plays() -> None:
    moment = "One moment, please."
    own = {"while_waiting": {"say": moment, "after_ms": 200}}
    tool = {"type": "function", "name": "look_up", "parameters": {}}

    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.update(tools=[tool], offhook=own)
            await client.send("response.create", response={"tool_choice": "required"})
            (call,) = (await client.until("response.done"))[-1]["response"]["output"]
            filler = await client.until("response.done")
            assert filler[-1]["response"]["metadata"] == {"offhook": "while_waiting"}
            samples = resample(from_bytes(sound(filler)), 24_000, 8000)
            assert [each.number for each in find_tones(samples)] == [len(moment) % TONES]
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "nine"}
            await client.send("conversation.item.create", item=output)
            await client.send("response.create", response={"tool_choice": "none"})
            answer = (await client.until("response.done"))[-1]["response"]
            assert (answer["status"], answer["metadata"]) == ("completed", None)

    run_jumping(test)


def test_a_secret_is_not_made_for_a_filler_that_nobody_could_play() -> None:
    async def test(one: Live) -> None:
        session = {"type": "realtime", "offhook": {"while_waiting": {"tone": True}}}
        with pytest.raises(BadRequestError) as refused:
            await one.sdk.realtime.client_secrets.create(session=session)  # type: ignore[arg-type]
        assert refused.value.param == "session.offhook.while_waiting.tone"

    run_jumping(test)


def test_a_client_secret_opens_sessions_with_what_it_was_made_with() -> None:
    async def test(one: Live) -> None:
        made = await one.sdk.realtime.client_secrets.create(
            session={"type": "realtime", "model": "gpt-realtime-mini", "instructions": "Be kind."}
        )
        protocols = ["realtime", f"openai-insecure-api-key.{made.value}", "openai-agents-sdk.0.20"]
        for _ in range(2):
            async with opened(one, "", "", subprotocols=protocols) as client:
                assert client.connection.subprotocol == "realtime"
                session = (await client.receive())["session"]
                assert (session["model"], session["instructions"]) == ("gpt-realtime-mini", "Be kind.")
                await client.send("session.update", session={"type": "realtime", "model": "gpt-realtime"})
                assert (await client.until("error"))[-1]["error"]["param"] == "session.model"
        async with opened(one, "?model=gpt-realtime", made.value) as client:
            error = (await client.receive())["error"]
            assert (error["code"], error["param"]) == ("invalid_value", "model")
            assert (await client.closed())[0] == 1008

    run_jumping(test)


def test_what_a_client_sends_after_the_end_of_its_session_disturbs_nobody() -> None:
    async def test(one: Live) -> None:
        sessions = one.server.sessions._active
        append = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(PCM).decode()})
        async with opened(one) as first:
            await first.until("session.created")
            (over,) = sessions.values()
            over.close(Closing(1000, ""))
            async with opened(one) as second:
                await second.until("session.created")
                (session,) = sessions.values()
                session.hear_client(append)
                over.hear_client(append)
                over.hear_client(json.dumps({"type": "input_audio_buffer.commit"}))
                assert not over._inbox
                await second.until("input_audio_buffer.speech_stopped")

    run_jumping(test)


def test_a_client_secret_listens_in_on_no_call() -> None:
    async def test(one: Live) -> None:
        realtime = one.sdk.realtime
        made = await realtime.client_secrets.create()
        translation = await realtime.translations.client_secrets.create(session={"model": "m"})
        _, call_id = await one.talk()
        for key in (made.value, translation.value):
            with pytest.raises(InvalidStatus) as caught:
                async with opened(one, f"?call_id={call_id}", key):
                    pass
            assert caught.value.response.status_code == 401
            assert json.loads(caught.value.response.body)["error"]["code"] == "invalid_api_key"
        async with opened(one, f"?call_id={call_id}") as client:
            await client.update(instructions="Be brief.")

    run_jumping(test)


def test_a_secret_that_expired_or_is_of_another_kind_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(one: Live) -> None:
        made = await one.sdk.realtime.client_secrets.create()
        translation = await one.sdk.realtime.translations.client_secrets.create(session={"model": "m"})
        now = one.server.secrets._clock()
        monkeypatch.setattr(one.server.secrets, "_clock", lambda: now + 599)
        async with opened(one, "", made.value):
            pass
        for key, status in ((translation.value, 400), ("ek_x", 401)):
            with pytest.raises(InvalidStatus) as caught:
                async with opened(one, "", key):
                    pass
            assert caught.value.response.status_code == status
        monkeypatch.setattr(one.server.secrets, "_clock", lambda: now + 601)
        with pytest.raises(InvalidStatus) as caught:
            async with opened(one, "", made.value):
                pass
        assert caught.value.response.status_code == 401

    run_jumping(test)


def test_a_model_that_is_not_there_is_said_in_an_event() -> None:
    async def test(one: Live) -> None:
        services = one.server.directory.services
        engine = replace(services.options.engine, strict_models=frozenset({"mine"}))
        one.server.directory.services = replace(services, options=replace(services.options, engine=engine))
        async with opened(one, "?model=other") as client:
            error = (await client.receive())["error"]
            assert (error["code"], error["param"]) == ("model_not_found", "session.model")
            assert await client.closed() == (1008, "model_not_found")
        async with opened(one, "?model=mine") as client:
            assert (await client.receive())["type"] == "session.created"

    run_jumping(test)


def test_a_session_that_is_too_long_ends_with_the_words_of_the_service() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            session = (await client.receive())["session"]
            assert session["expires_at"] > 0
            reason = "Your session hit the maximum duration of 1 second."
            assert await client.closed() == (1001, reason)
            error = client.events[-1]["error"]
            assert (error["code"], error["message"]) == ("session_expired", reason)

    run_jumping(test, session_seconds=1)


def test_a_server_that_stops_tells_its_sessions_and_opens_no_more() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.receive()
            one.server.drain()
            assert await client.closed() == (1001, "The server is stopping.")
        with pytest.raises(InvalidStatus) as caught:
            async with opened(one):
                pass
        assert caught.value.response.status_code == 503
        await asyncio.wait_for(one.server.drained(), PATIENCE_S)

    run_jumping(test, drain_seconds=0)


def test_too_many_sessions_are_refused_until_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_SOCKET_SESSIONS", 1)

    async def test(one: Live) -> None:
        async with opened(one):
            with pytest.raises(InvalidStatus) as caught:
                async with opened(one):
                    pass
            assert refusal(caught.value) == "There is no room for another session now: 1 sessions are the limit."
        await until(lambda: len(one.server.sessions) == 0)
        async with opened(one) as client:
            await client.receive()

    run_jumping(test)


def test_sessions_that_a_busy_machine_cannot_hold_are_refused_before_they_open() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.receive()
            admission = one.server.sessions.admission
            for _ in range(20):
                admission.observe(Load(busy=1e30, legs=1))
            with pytest.raises(InvalidStatus) as caught:
                async with opened(one):
                    pass
            assert refusal(caught.value) == "There is no room for another session now: 1 sessions are the limit."
            told = one.server.health()["sessions"]
            assert (told["active"], told["limit"], told["refused"]) == (1, 1, 1)
            await client.update(instructions="Those who are in stay in.")

    run_jumping(test)


def test_a_client_that_is_too_far_behind_loses_its_session_and_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One answer in words has more events at its end than may wait."""
    monkeypatch.setattr(limits, "MAX_SOCKET_BACKLOG", 4)

    async def test(one: Live) -> None:
        async with opened(one) as slow, opened(one) as other:
            await slow.send("response.create", response={"output_modalities": ["text"]})
            assert await slow.closed() == (1008, "The events were not read fast enough.")
            await other.update(instructions="Go on.")
            await until(lambda: len(one.server.sessions) == 1)

    run_jumping(test)


def test_the_sockets_of_one_key_hold_no_more_together_than_one_project_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is furthest behind is closed; who keeps up, and other projects, hear nothing of it."""
    monkeypatch.setattr(limits, "MAX_PROJECT_BACKLOG_BYTES", 8_000)

    async def test(one: Live) -> None:
        async with opened(one) as slow, opened(one) as other:
            words = [{"type": "input_text", "text": "x" * 10_000}]
            await slow.send("conversation.item.create", item={"type": "message", "role": "user", "content": words})
            assert await slow.closed() == (1008, "The events were not read fast enough.")
            await other.update(instructions="Go on.")
            await until(lambda: len(one.server.sessions) == 1)
            assert one.server.health()["sockets"]["waiting_bytes"] == 0

    run_jumping(test)


def test_an_event_that_is_too_long_closes_the_socket_that_sent_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENT_EVENT_BYTES", 10_000)

    async def test(one: Live) -> None:
        async with opened(one) as client, opened(one) as other:
            await client.receive()
            await client.connection.send('{"type":"' + "x" * 20_000 + '"}')
            assert (await client.closed())[0] == 1009
            await other.update(instructions="Go on.")
            await until(lambda: len(one.server.sessions) == 1)

    run_jumping(test)


def test_a_session_leaves_a_record_of_what_it_was_and_what_it_used(tmp_path: Path) -> None:
    ids = []

    async def test(one: Live) -> None:
        async with opened(one) as client, opened(one, "?intent=transcription") as other:
            ids.append((await client.receive())["session"]["id"])
            ids.append((await other.receive())["session"]["id"])
            await client.send("response.create", response={"output_modalities": ["text"]})
            await client.until("response.done")
            one.server.drain()
            await client.closed()
        await until(lambda: len(one.server.sessions) == 0)

    run_jumping(test, store=str(tmp_path), drain_seconds=0)
    with contextlib.closing(sqlite3.connect(tmp_path / "calls.sqlite3")) as database:
        rows = database.execute("SELECT record FROM calls").fetchall()
    kept = {record["id"]: record for record in (json.loads(row[0]) for row in rows)}
    assert set(kept) == set(ids)
    record = kept[ids[0]]
    assert (record["object"], record["type"], record["model"]) == ("offhook.session", "realtime", "gpt-realtime")
    assert record["end"] == {"code": 1001, "reason": "The server is stopping."}
    assert (record["usage"]["responses"], record["usage"]["output_tokens"] > 0) == (1, True)
    assert record["came_in_at"] <= record["ended_at"]
    assert kept[ids[1]]["type"] == "transcription"


def refusal(refused: InvalidStatus) -> str:
    """What a refused upgrade says: to come back, and why."""
    response = refused.response
    assert (response.status_code, response.headers["retry-after"]) == (429, "5")
    error = json.loads(response.body)["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "rate_limit_exceeded", None)
    return str(error["message"])


def test_a_frame_that_is_no_event_costs_one_error() -> None:
    frames = ["{", b"\xff", '{"type": "session.updat"}', "[]", '{"type":"input_audio_buffer.append"}']

    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.receive()
            for frame in frames:
                await client.connection.send(frame)
                assert (await client.receive())["type"] == "error"
            await client.update(instructions="Still here.")

    run_jumping(test)


def test_a_minute_that_comes_at_once_holds_nobody_up_and_is_heard_whole() -> None:
    async def test(one: Live) -> None:
        session = {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}
        async with opened(one) as busy, opened(one) as other:
            await busy.update(audio=session)
            await other.receive()
            minute = PCM * 22
            await busy.append(minute, piece=len(minute))
            await busy.send("input_audio_buffer.clear")
            await other.update(instructions="Quick.")
            await busy.until("input_audio_buffer.cleared")
            stops = [each["audio_end_ms"] for each in busy.events if "audio_end_ms" in each]
            assert len(stops) == 22
            assert stops == sorted(stops)

    run_jumping(test)


def test_functions_are_called_and_their_output_is_answered() -> None:
    async def test(one: Live) -> None:
        tool = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
        async with opened(one) as client:
            await client.update(tools=[tool], tool_choice="required")
            await client.send("response.create")
            done = (await client.until("response.done"))[-1]["response"]
            call = done["output"][0]
            assert (call["type"], call["name"]) == ("function_call", "look_up")
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
            await client.send("conversation.item.create", item=output)
            await client.send("response.create")
            assert sound(await client.until("response.done"))

    run_jumping(test)


def test_a_session_that_cannot_be_listened_to_ends_and_the_others_go_on() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as broken, opened(one) as other:
            await broken.receive()
            (first, _) = one.server.sessions._active.values()
            first.line._ear._levels = None  # type: ignore[assignment]
            await broken.append(PCM)
            assert (await broken.closed())[0] == 1011
            await other.append(PCM)
            assert sound(await other.until("response.done"))

    run_jumping(test)


def test_a_recording_that_is_added_as_an_item_is_transcribed() -> None:
    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
            content = [{"type": "input_audio", "audio": base64.b64encode(PCM).decode()}]
            item = {"type": "message", "role": "user", "content": content}
            await client.send("conversation.item.create", item=item)
            done = (await client.until("conversation.item.input_audio_transcription.completed"))[-1]
            assert done["usage"]["seconds"] == pytest.approx(len(PCM) / 48000, abs=0.01)
            await client.send("conversation.item.retrieve", item_id=done["item_id"])
            shown = (await client.until("conversation.item.retrieved"))[-1]["item"]["content"]
            assert shown == [{"type": "input_audio", "transcript": done["transcript"]}]

    run_jumping(test)
