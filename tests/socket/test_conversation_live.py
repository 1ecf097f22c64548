"""A caller talks to a language model over real sockets: words go there and back, and failures are survived."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.socket.live import Live, Socket, live
from tests.socket.model_server import ModelHost, Received, Reply, serve
from tests.socket.test_models import delta, sse
from websockets.exceptions import ConnectionClosedOK

from offhook.audio.pcm import to_bytes
from offhook.audio.tone import find_tones, tone
from offhook.model.scripted import HEARD
from offhook.testing.voice import voice


def with_model(
    replies: Iterator[Reply], test: Any, *, spoken: Reply | None = None, **flags: Any
) -> list[dict[str, object]]:
    """Run a conversation with a language model that gives these replies; return what it was asked.

    ``spoken`` is how a voice over HTTP says every sentence.
    """
    asked: list[dict[str, object]] = []

    def answer(received: Received) -> Reply:
        if spoken is not None and received.path.endswith("/audio/speech"):
            return spoken
        asked.append(received.json)
        return next(replies)

    async def whole() -> None:
        host: ModelHost
        async with asyncio.timeout(120), serve(answer) as host:
            voice_url = {"tts_url": host.url} if spoken is not None else {}
            async with live(llm_url=host.url, **voice_url, **flags) as one:
                await test(one)

    asyncio.run(whole())
    return asked


def test_a_conversation_of_two_turns() -> None:
    async def test(one: Live) -> None:
        session = {"instructions": "Be brief.", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        call, call_id = await one.talk(session)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            for _ in range(2):
                await call.say(voice(900))
                events = await socket.until("response.done")
                assert events[-1]["response"]["status"] == "completed"
                await socket.until("output_audio_buffer.stopped")
        said = events[-1]["response"]["output"][0]["content"][0]["transcript"]
        assert said == "We open at nine. And close at five."
        assert len(find_tones(call.heard)) == 4, "two sentences an answer"

    answer = sse(delta(content="We open at nine. "), delta(content="And close at five."), delta("stop"))
    asked = with_model(iter([Reply(answer), Reply(answer)]), test)
    assert [message["role"] for message in asked[1]["messages"]] == ["system", "user", "assistant", "user"]  # type: ignore[attr-defined,index]
    assert asked[1]["messages"][1]["content"] == HEARD  # type: ignore[index]


def test_a_model_that_breaks_off_in_mid_sentence_fails_its_response_and_the_call_goes_on() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            for status in ("failed", "failed", "completed"):
                await connection.response.create()
                response = (await socket.until("response.done"))[-1]["response"]
                assert response["status"] == status
                if status == "failed":
                    assert response["status_details"]["error"]["code"] == "model_error"
        assert call.end is None

    broken = sse(delta(content="We open. At n"))[:1]
    good = sse(delta(content="At nine."), delta("stop"))
    with_model(iter([Reply(broken, cut=True), Reply([b"{}"], 503), Reply(good)]), test)


def test_a_model_that_never_answers_is_given_up_and_said_so() -> None:
    async def test(one: Live) -> None:
        _, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            response = (await socket.until("response.done"))[-1]["response"]
            assert response["status_details"]["error"]["code"] == "model_timeout"

    with_model(iter([Reply([], hang=True)]), test, llm_seconds=0.3)


def test_a_caller_who_interrupts_stops_the_model() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            await call.hears_sound()
            call.begin_saying(voice(1200))
            response = (await socket.until("response.done"))[-1]["response"]
            assert response["status"] == "cancelled"
            assert response["status_details"]["reason"] == "turn_detected"
            (item,) = response["output"]
            assert item["status"] == "incomplete"
            assert "Once upon a time".startswith(item["content"][0]["transcript"][:10])

    story = sse(delta(content="Once upon a time there was a telephone that nobody answered. And so it rang. "))[:1]
    good = sse(delta(content="Yes?"), delta("stop"))
    with_model(iter([Reply(story, hang=True), Reply(good)]), test)


def test_a_function_is_called_while_the_words_before_it_are_still_spoken_and_cut() -> None:
    """The voice sends a piece after the other and does not end; the function's arguments do not wait for it."""
    function = {"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}}

    async def test(one: Live) -> None:
        call, call_id = await one.talk({"tools": [function]})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            await socket.until("response.function_call_arguments.done")
            await call.hears_sound()
            call.begin_saying(voice(1200))
            response = (await socket.until("response.done"))[-1]["response"]
            assert [item["type"] for item in response["output"]] == ["message", "function_call"]
            (part,) = response["output"][0]["content"]
            assert part["transcript"] != words.strip()
            assert words.startswith(part["transcript"])

    words = "One moment, I will look that up for you in our very large book of orders. "
    called = {"index": 0, "id": "c1", "function": {"name": "lookup", "arguments": "{}"}}
    asked = sse(delta(content=words), delta(tool_calls=[called]), delta("tool_calls"))
    good = sse(delta(content="Yes?"), delta("stop"))
    sound = to_bytes(tone(3, 8000, 24000))
    pieces = [sound[start : start + 9600] for start in range(0, len(sound), 9600)]
    spoken = Reply(pieces, content_type="audio/pcm", hang=True)
    with_model(iter([Reply(asked), Reply(good)]), test, spoken=spoken)


@pytest.mark.parametrize("rate_hz", [22050, 44100, 11025])
@pytest.mark.real_time(reruns=3)
def test_a_voice_of_another_rate_is_heard_and_does_not_end_the_call(rate_hz: int) -> None:
    """Many servers speak at 22,050 or 44,100 Hz; their first answer hung up on the caller."""

    def answer(received: Received) -> Reply:
        if received.path.endswith("/audio/speech"):
            return Reply([to_bytes(tone(3, 900, rate_hz))], content_type="audio/pcm")
        return Reply(sse(delta(content="Good morning."), delta("stop")))

    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            await socket.until("output_audio_buffer.stopped")
            await call.hears_silence(200)
        # That no frame is lost is tried elsewhere; a voice at a wrong rate is another tone, and of another length.
        heard = find_tones(call.heard, bridge_ms=0)
        assert {each.number for each in heard} == {3}
        assert 600 <= sum(each.end_ms - each.start_ms for each in heard) <= 1100

    async def whole() -> None:
        async with (
            asyncio.timeout(120),
            serve(answer) as host,
            live(llm_url=host.url, tts_url=host.url, tts_rate=rate_hz) as one,
        ):
            await test(one)

    asyncio.run(whole())


@pytest.mark.parametrize("answers", [True, False])
def test_what_the_caller_said_last_is_transcribed_before_the_socket_closes(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users' complaint: pending transcripts are lost when the caller hangs up."""
    if not answers:
        monkeypatch.setattr("offhook.host.owner.LAST_WORDS_S", 0.2)

    async def test() -> None:
        hung_up = asyncio.Event()
        transcript = Reply([b'{"text": "Goodbye."}'], after=hung_up)
        session = {
            "audio": {
                "input": {
                    "transcription": {"model": "whisper-1"},
                    "turn_detection": {"type": "server_vad", "create_response": True},
                }
            }
        }
        async with (
            serve(lambda _: transcript) as host,
            live(llm_url=host.url, stt_url=host.url) as one,
        ):
            call, call_id = await one.talk(session)
            async with one.sdk.realtime.connect(call_id=call_id) as connection:
                socket = Socket(connection)
                await call.say(voice(900))
                await socket.until("response.created")
                await call.hang_up()
                await socket.until("response.done")
                assert one.server.directory.active == []
                if answers:
                    hung_up.set()
                with pytest.raises(ConnectionClosedOK) as caught:
                    await socket.until("nothing of this type is ever sent")
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "caller_hung_up")
            told = [event.get("transcript") for event in socket.events if "transcription" in event["type"]]
            assert [text for text in told if text] == (["Goodbye."] if answers else [])
            assert [event["type"] for event in socket.events].count("response.created") == 1
            assert not any("chat" in received.path for received in host.received), "nobody answers any more"
            hung_up.set()

    async def whole() -> None:
        async with asyncio.timeout(120):
            await test()

    asyncio.run(whole())
