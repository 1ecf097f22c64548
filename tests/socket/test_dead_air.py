"""Complaints 28, 30 and 31: nobody speaks when the call is answered, and nothing is heard while a function works."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError
from tests.recorded import plain_words
from tests.socket.live import Live, Socket, live, run, run_jumping, until

from offhook.audio.pcm import Samples, to_bytes
from offhook.audio.tone import TONES, find_tones, tone
from offhook.audio.wav import write_wav
from offhook.errors import ConfigError
from offhook.model.interface import Speech
from offhook.model.local.voices import assets
from offhook.model.local.whisper.folder import is_installed
from offhook.testing.phone import PhoneCall
from offhook.testing.voice import voice

GREETING = "Clinic Weber, good morning."
MOMENT = "One moment, please."
CLIP = 17
# A busy machine leaves holes in a sound; what happens within a tick is tried on the playout alone.
BRIDGE_MS = 400
MANUAL = {"type": "server_vad", "create_response": False}
TOOL = {"type": "function", "name": "look_up", "parameters": {}}


def number(text: str) -> int:
    """The tone that the scripted voice makes of a sentence."""
    return len(text) % TONES


def tones(call: PhoneCall) -> list[int]:
    return [each.number for each in find_tones(call.recording[:, 0], bridge_ms=BRIDGE_MS)]


async def accept(one: Live, own: dict[str, Any], **session: Any) -> tuple[PhoneCall, str]:
    """Answer a call the way an application on the official SDK does."""
    call, call_id = await one.ring()
    await one.calls.accept(call_id, type="realtime", extra_body={"offhook": own}, **session)
    await call.answered()
    return call, call_id


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "music.wav").write_bytes(write_wav(tone(CLIP, 400), 8000))
    return tmp_path


# -- the beginning


def test_the_caller_is_not_left_in_silence_until_the_application_gets_around_to_speak() -> None:
    """No socket is open, nobody has said a word, and the fixed line is said word for word."""

    async def test(one: Live) -> None:
        call, call_id = await accept(one, {"speak_first": GREETING})
        await call.hears_sound()
        await call.hears_silence()
        assert tones(call) == [number(GREETING)]
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create(response={"instructions": "Go on."})
            await socket.until("response.created")
        await call.hang_up()

    run_jumping(test)


def test_a_greeting_of_the_server_needs_nothing_from_the_application() -> None:
    async def test(one: Live) -> None:
        call, _ = await one.talk()
        await call.hears_sound()
        await call.hears_silence()
        assert tones(call) == [number(GREETING)]
        await call.hang_up()

    run_jumping(test, greeting=GREETING)


def test_the_greeting_is_an_item_that_an_interruption_cuts() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await one.calls.accept(call_id, type="realtime", extra_body={"offhook": {"speak_first": GREETING * 5}})
            await call.answered()
            await socket.until("output_audio_buffer.started")
            await call.hears_sound()
            await connection.output_audio_buffer.clear()
            events = await socket.until("conversation.item.truncated")
            done = next(each for each in socket.events if each["type"] == "response.done")
            assert done["response"]["output"][0]["content"][0]["transcript"] == GREETING * 5
            assert events[-1]["audio_end_ms"] < len(GREETING * 5) * 65
        await call.hang_up()

    run_jumping(test)


# -- while something works


async def calls_a_function(one: Live, call_id: str, connection: Any) -> tuple[Socket, str]:
    socket = Socket(connection)
    await connection.response.create(response={"tool_choice": "required"})
    events = await socket.until("response.done")
    (item,) = events[-1]["response"]["output"]
    assert item["type"] == "function_call", events
    return socket, item["call_id"]


async def function_answers(connection: Any, tool_call_id: str) -> None:
    output = {"type": "function_call_output", "call_id": tool_call_id, "output": "nine"}
    await connection.conversation.item.create(item=output)
    await connection.response.create(response={"tool_choice": "none"})


def test_a_clip_is_heard_while_a_function_works_and_the_answer_takes_its_place_at_once(clips: Path) -> None:
    async def test(one: Live) -> None:
        own = {"while_waiting": {"clip": "music", "after_ms": 200}}
        call, call_id = await accept(one, own, tools=[TOOL])
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket, tool_call_id = await calls_a_function(one, call_id, connection)
            await call.hears_sound()
            await asyncio.sleep(1)  # so that it has to loop
            await function_answers(connection, tool_call_id)
            await socket.until("output_audio_buffer.stopped")
            items = [each for each in socket.events if each["type"] == "conversation.item.done"]
            assert [each["item"]["type"] for each in items][-3:] == [
                "function_call",
                "function_call_output",
                "message",
            ]
        await call.hang_up()
        heard = find_tones(call.recording[:, 0], bridge_ms=BRIDGE_MS)
        numbers = [each.number for each in heard]
        assert numbers[0] == CLIP
        assert CLIP not in numbers[1:], "it gives way to the answer for good"
        assert heard[1].start_ms - heard[0].end_ms <= BRIDGE_MS
        assert heard[-1].end_ms - heard[1].start_ms >= 1900, "of which nothing is missing"

    run_jumping(test, clips=str(clips))


def test_one_moment_is_said_while_a_function_works_and_is_part_of_the_conversation() -> None:
    async def test(one: Live) -> None:
        own = {"while_waiting": {"say": MOMENT, "after_ms": 200}}
        call, call_id = await accept(one, own, tools=[TOOL])
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket, tool_call_id = await calls_a_function(one, call_id, connection)
            events = await socket.until("conversation.item.done")
            item = events[-1]["item"]
            assert (item["role"], item["content"][0]["transcript"]) == ("assistant", MOMENT)
            await function_answers(connection, tool_call_id)
            await socket.until("output_audio_buffer.stopped")
        await call.hang_up()
        assert tones(call)[0] == number(MOMENT)
        assert len(tones(call)) == 2

    run_jumping(test)


def test_a_tone_of_the_servers_settings_is_heard_and_leaves_no_trace_in_the_conversation() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk({"tools": [TOOL]})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket, tool_call_id = await calls_a_function(one, call_id, connection)
            await call.hears_sound()
            await function_answers(connection, tool_call_id)
            events = await socket.until("response.done")
            added = [each["item"]["type"] for each in events if each["type"] == "conversation.item.added"]
            assert added == ["function_call_output", "message"]
        await call.hang_up()

    run_jumping(test, while_waiting="tone", waiting_ms=200)


def test_the_caller_who_speaks_ends_it(clips: Path) -> None:
    async def test(one: Live) -> None:
        own = {"while_waiting": {"clip": "music", "after_ms": 200}}
        detection = {"type": "server_vad", "create_response": False}
        call, call_id = await accept(one, own, tools=[TOOL], audio={"input": {"turn_detection": detection}})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await calls_a_function(one, call_id, connection)
            await call.hears_sound()
            await call.say(voice(2000))
        await call.hang_up()
        end_ms = max(each.end_ms for each in call.conversation().said)
        heard = [each for each in find_tones(call.recording[:, 0]) if each.start_ms < end_ms]
        assert heard, "the clip was there before"
        assert max(each.end_ms for each in heard) < end_ms, "and is not heard when the caller has said everything"

    run_jumping(test, clips=str(clips))


def test_a_clip_that_there_is_not_is_refused_before_the_call_is_answered() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        with pytest.raises(BadRequestError) as refused:
            await one.calls.accept(
                call_id, type="realtime", extra_body={"offhook": {"while_waiting": {"clip": "music"}}}
            )
        assert refused.value.param == "session.offhook.while_waiting.clip"
        assert call.answered_at is None
        await call.hang_up()

    run_jumping(test)


def test_a_server_does_not_start_with_a_clip_that_it_does_not_have(tmp_path: Path) -> None:
    async def start(**flags: Any) -> None:
        async with live(**flags):
            pass

    with pytest.raises(ConfigError, match="no clip 'music'"):
        asyncio.run(start(while_waiting="clip:music", clips=str(tmp_path)))
    (tmp_path / "two words.wav").write_bytes(write_wav(tone(1, 100), 8000))
    with pytest.raises(ConfigError, match="no name for a clip"):
        asyncio.run(start(clips=str(tmp_path)))
    with pytest.raises(ConfigError, match="cannot read"):
        asyncio.run(start(clips=str(tmp_path / "nothing")))


# -- in the agent's own voice


@pytest.mark.skipif(not assets.is_installed(), reason="the local voice is not installed: offhook[local]")
@pytest.mark.skipif(not is_installed("tiny.en"), reason="local speech is not installed: offhook[local]")
def test_a_caller_understands_the_greeting_the_moment_and_what_of_it_an_interruption_left() -> None:
    greeting = "Good morning, how can I help you today?"
    moment = "One moment please, I am looking that up for you in our big green book of opening hours."

    async def test(one: Live) -> None:
        own = {"speak_first": greeting, "while_waiting": {"say": moment, "after_ms": 300}}
        call, call_id = await one.ring()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            audio: Any = {"input": {"turn_detection": MANUAL}}
            await one.calls.accept(call_id, type="realtime", tools=[TOOL], audio=audio, extra_body={"offhook": own})
            await Socket(connection).until("output_audio_buffer.stopped")
            await call.hears_silence(300)
            greeting_samples = len(call.heard)
            socket, _ = await calls_a_function(one, call_id, connection)
            await call.hears_sound(30)
            two_seconds_on = len(call.heard) + 2 * 8000
            await until(lambda: len(call.heard) >= two_seconds_on)
            await call.say(voice(1200))
            item = (await socket.until("conversation.item.done"))[-1]["item"]
        await call.hang_up()

        async def words(samples: Samples) -> list[str]:
            pieces = one.server.backend.transcribe(Speech(to_bytes(samples), 8000), None)
            return plain_words("".join([piece.text async for piece in pieces]))

        assert await words(call.heard[:greeting_samples]) == plain_words(greeting)
        heard, told = await words(call.heard[greeting_samples:]), plain_words(item["content"][0]["transcript"])
        assert item["status"] == "incomplete"
        assert 3 <= len(told) < len(moment.split())
        assert abs(len(heard) - len(told)) <= 1

    run(test, models="local", stt_workers=1)
