"""Whole conversations with the local models over real RTP, judged by a transcript of what each side heard."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tests.recorded import errors, over_telephone, plain_words, said
from tests.socket.live import Live, Socket, be_patient, live, part_of, until
from tests.socket.model_server import Reply, serve
from tests.socket.test_models import delta, sse

from offhook.audio.pcm import Samples, saturate, silence, to_bytes
from offhook.config import Config
from offhook.model.interface import Speech
from offhook.model.local.voices import assets
from offhook.model.local.whisper.folder import is_installed
from offhook.session import semantic
from offhook.testing.hearing import find_utterances
from offhook.testing.phone import PhoneCall

pytestmark = [
    pytest.mark.skipif(not is_installed("tiny.en"), reason="local speech is not installed: offhook[local]"),
    pytest.mark.skipif(not assets.is_installed(), reason="the local voice is not installed: offhook[local]"),
]
HEARS = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
COMPLETED = "conversation.item.input_audio_transcription.completed"
FAILED = "conversation.item.input_audio_transcription.failed"
STORY = (
    "Once upon a time there was a telephone that nobody answered. It rang in the morning, it rang in the evening, "
    "and sometimes it rang all through the night. One day an old man picked it up and said hello."
)
SORRY = "Sorry about that."
HOURS = {
    "type": "function",
    "name": "opening_hours",
    "description": "When the clinic is open on a weekday.",
    "parameters": {"type": "object", "properties": {"day": {"type": "string"}}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with the demo brain, which all tests call that want no other."""
    with asyncio.Runner() as runner:
        running = live(models="local", stt_workers=1, apology=SORRY)
        one = runner.run(running.__aenter__())
        for name in ("_hearing", "_voice"):
            be_patient(part_of(one, name))
        yield Server(runner, one)
        runner.run(running.__aexit__(None, None, None))


@dataclass
class Server:
    """A server, and the event loop that it runs in."""

    runner: asyncio.Runner
    one: Live

    def talk(self, test: Test, session: dict[str, Any] | None = None) -> None:
        self.runner.run(talk(self.one, test, session))


async def talk(one: Live, test: Test, session: dict[str, Any] | None = None) -> None:
    async with asyncio.timeout(150):
        call, call_id = await one.talk(HEARS | (session or {}))
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await test(Talk(one, call, connection))
        assert call.end is None, "the call went through all of it"
        await call.hang_up()


def talk_to(replies: list[Reply], test: Test, session: dict[str, Any] | None = None, **flags: Any) -> None:
    """Talk to a server of its own, whose brain is a language model that gives these replies."""
    waiting = iter(replies)

    async def whole() -> None:
        async with (
            serve(lambda _: next(waiting)) as host,
            live(models="local", stt_workers=1, llm_url=host.url, **flags) as one,
        ):
            await talk(one, test, session)

    asyncio.run(whole())


class Talk:
    """A call with local models, its socket, and an ear for what the caller hears."""

    def __init__(self, one: Live, call: PhoneCall, connection: Any) -> None:
        self.one = one
        self.call = call
        self.connection = connection
        self.socket = Socket(connection)

    async def until(self, type_: str) -> dict[str, Any]:
        return (await self.socket.until(type_))[-1]

    async def say(self, text: str) -> None:
        await self.call.say(said(text))

    async def tell(self, text: str) -> None:
        """Let the agent say a text."""
        await self.connection.response.create(response={"instructions": f'Say "{text}"'})

    async def heard(self, samples: Samples) -> str:
        """Return the words of what a caller heard."""
        pieces = self.one.server.backend.transcribe(Speech(to_bytes(samples), 8000), None)
        return "".join([words.text async for words in pieces])

    async def answer(self) -> tuple[dict[str, Any], str]:
        """Return the next response to its last sound, and what the caller heard of it."""
        before = len(self.call.heard)
        response = (await self.until("response.done"))["response"]
        await self.until("output_audio_buffer.stopped")
        await self.call.hears_silence(300)
        return response, await self.heard(self.call.heard[before:])


Test = Callable[[Talk], Awaitable[None]]


def transcript(response: dict[str, Any]) -> str:
    words: str = response["output"][0]["content"][0]["transcript"]
    return words


def test_a_caller_is_understood_and_hears_the_words_of_the_transcript(server: Server) -> None:
    """Users of others heard static while transcripts flowed, and missed spoken words in the transcript."""

    async def test(one: Talk) -> None:
        for question in ("The weather is very nice today.", "I would like to have a red bicycle."):
            await one.say(question)
            understood = (await one.until(COMPLETED))["transcript"]
            assert errors(understood, question)[0] == 0
            response, heard = await one.answer()
            assert response["status"] == "completed"
            assert errors(transcript(response), understood)[0] > 0, "more than an echo"
            assert question.strip(".").lower() in transcript(response).lower()
            assert errors(heard, transcript(response))[0] <= 2, (heard, transcript(response))
        types = [event["type"] for event in one.socket.events]
        assert types.index(COMPLETED) < types.index("response.output_audio_transcript.delta"), "words came in order"

    server.talk(test)


def test_a_function_is_called_by_voice_and_its_result_is_heard(server: Server) -> None:
    async def test(one: Talk) -> None:
        await one.say("When are you open on Friday?")
        call = await one.until("response.function_call_arguments.done")
        assert (call["name"], call["arguments"]) == ("opening_hours", '{"day":"Friday"}')
        await one.until("response.done")
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "On Friday from nine to five."}
        await one.connection.conversation.item.create(item=output)
        await one.connection.response.create()
        _, heard = await one.answer()
        assert "friday" in plain_words(heard)

    server.talk(test, {"tools": [HOURS]})


def test_the_agent_speaks_first_and_says_a_fixed_line(server: Server) -> None:
    line = "Welcome to the clinic, how can I help you?"

    async def test(one: Talk) -> None:
        await one.tell(line)
        response, heard = await one.answer()
        assert transcript(response) == line
        assert errors(heard, line)[0] <= 1

    server.talk(test)


def test_adding_tools_in_mid_call_does_not_turn_the_call_to_static(server: Server) -> None:
    async def test(one: Talk) -> None:
        await one.tell("Before the change.")
        await one.answer()
        await one.connection.session.update(session={"type": "realtime", "tools": [HOURS]})
        await one.until("session.updated")
        await one.tell("The weather is as nice as before.")
        assert errors((await one.answer())[1], "The weather is as nice as before.")[0] == 0

    server.talk(test)


# -- interruptions


@pytest.mark.parametrize("speed", [1.0, 1.4])
def test_after_an_interruption_the_transcript_ends_with_the_word_that_was_heard(server: Server, speed: float) -> None:
    """Users of others found 5 to 10 s in the conversation that nobody had heard."""

    async def test(one: Talk) -> None:
        await one.tell(STORY)
        await one.call.hears_sound()
        await until(lambda: bool(find_utterances(one.call.heard)))
        begun = find_utterances(one.call.heard)[0].start_ms
        await until(lambda: len(one.call.heard) >= (begun + 2600) * 8)
        one.call.begin_saying(said("Excuse me, what about the weather?"))
        truncated = await one.until("conversation.item.truncated")
        await one.connection.conversation.item.retrieve(item_id=truncated["item_id"])
        item = (await one.until("conversation.item.retrieved"))["item"]
        kept = item["content"][0]["transcript"]
        agent = one.call.heard
        stopped = next(each.end_ms for each in find_utterances(agent) if each.end_ms > begun)
        assert abs(truncated["audio_end_ms"] - (stopped - begun)) <= 400
        heard = plain_words(await one.heard(agent[: (stopped + 100) * 8]))
        assert STORY.startswith(kept)
        assert 3 <= len(plain_words(kept)) < len(plain_words(STORY))
        # Whoever hears half a word may or may not write it down.
        assert abs(len(heard) - len(plain_words(kept))) <= 2, (heard, kept)
        assert "weather" in (await one.until(COMPLETED))["transcript"]
        await one.until("output_audio_buffer.stopped")

    server.talk(test, {"audio": HEARS["audio"] | {"output": {"speed": speed}}})


def test_the_agent_does_not_hang_after_a_small_interruption(server: Server) -> None:
    async def test(one: Talk) -> None:
        await one.tell(STORY)
        await one.call.hears_sound()
        await one.say("Wait.")
        await one.until(COMPLETED)
        await one.until("response.done")
        await one.until("output_audio_buffer.stopped")
        await one.say("How are you?")
        assert "fine" in (await one.answer())[1].lower()

    server.talk(test)


SEMANTIC = {"audio": {"input": HEARS["audio"]["input"] | {"turn_detection": {"type": "semantic_vad"}}}}


@pytest.mark.real_time(reruns=3)
@pytest.mark.parametrize(("word", "interrupts"), [("Okay.", False), ("Right.", False), ("Stop.", True)])
def test_okay_does_not_interrupt_the_agent_and_stop_does(
    server: Server, word: str, interrupts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        semantic, "NOD_WORDS_MS", 15_000
    )  # A busy machine understands late, and that is not tried here.
    sound = said(word)

    async def test(one: Talk) -> None:
        await one.tell(STORY)
        await one.call.hears_sound()
        await one.call.say(sound)
        assert plain_words((await one.until(COMPLETED))["transcript"]) == plain_words(word)
        await one.until("output_audio_buffer.stopped")
        kinds = [event["type"] for event in one.socket.events]
        assert ("output_audio_buffer.cleared" in kinds) is interrupts
        assert (kinds.count("response.created") > 1) is interrupts

    server.talk(test, SEMANTIC)


def test_under_semantic_vad_a_whole_sentence_is_answered_and_half_of_one_is_waited_for(server: Server) -> None:
    sound = np.concatenate([said("Can I please speak to your"), silence(400 * 8), said("manager today?")])

    async def test(one: Talk) -> None:
        await one.call.say(sound)
        understood = (await one.until(COMPLETED))["transcript"]
        assert "manager" in understood.lower()
        assert [event["type"] for event in one.socket.events].count("input_audio_buffer.committed") == 1
        await one.answer()

    server.talk(test, SEMANTIC)


def test_noise_on_the_line_does_not_cut_the_agent_off(server: Server) -> None:
    async def test(one: Talk) -> None:
        noise = np.random.default_rng(1).normal(0, 130, 8000 * 8)  # -48 dBFS, louder than a good line
        one.call.begin_saying(over_telephone(saturate(noise)))
        await one.tell("This sentence is said to its end, whatever the line sounds like.")
        response, _ = await one.answer()
        assert response["status"] == "completed"
        assert "input_audio_buffer.speech_started" not in {event["type"] for event in one.socket.events}

    server.talk(test)


# -- failures


def test_a_recogniser_that_is_killed_again_is_apologized_for_and_the_next_turn_is_understood(server: Server) -> None:
    async def test(one: Talk) -> None:
        ear = part_of(one.one, "_hearing")
        (pid,) = ear.pids
        os.kill(pid, signal.SIGSTOP)  # it hangs, and is killed while it has work
        await one.say("Are you there?")
        await one.until("input_audio_buffer.committed")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: ear.pids not in ([], [pid]))
        os.kill(ear.pids[0], signal.SIGKILL)  # it has just begun with the same turn
        assert (await one.until(FAILED))["error"]["code"] == "model_worker_died"
        response, heard = await one.answer()
        assert response["status"] == "failed"
        assert response["status_details"]["error"]["code"] == "not_understood"
        assert "sorry" in plain_words(heard)
        await one.say("How are you?")
        assert "fine" in (await one.answer())[1].lower()

    server.talk(test)


def test_an_answer_is_spoken_although_the_voice_is_killed_before_its_first_word(server: Server) -> None:
    async def test(one: Talk) -> None:
        voice = part_of(one.one, "_voice")
        (pid,) = voice.pids
        os.kill(pid, signal.SIGSTOP)  # it hangs, and is killed while it has work
        await one.tell("All is well again.")
        await until(lambda: voice.report()["serving"] == 1)
        os.kill(pid, signal.SIGKILL)
        response, heard = await one.answer()
        assert response["status"] == "completed"
        assert errors(heard, "All is well again.")[0] == 0

    server.talk(test)


BROKEN_CALL = delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "opening_hours", "arguments": '{"da'}}])


def test_a_brain_that_fails_in_every_way_costs_an_apology_each_and_never_the_call() -> None:
    replies = [
        Reply([b"data: {not json}\n\n"]),
        Reply(sse(BROKEN_CALL)[:1]),
        Reply([], hang=True),
        Reply([b"<html>busy</html>"], 503),
        Reply(sse(delta(content="We open at nine."), delta("stop"))),
    ]

    async def test(one: Talk) -> None:
        for code in ("model_error", "model_error", "model_timeout", "model_error"):
            await one.connection.response.create()
            response, heard = await one.answer()
            assert response["status"] == "failed"
            assert response["status_details"]["error"]["code"] == code
            assert "sorry" in plain_words(heard), heard
        await one.say("When do you open?")
        assert "nine" in plain_words((await one.answer())[1])

    talk_to(replies, test, {"tools": [HOURS]}, llm_seconds=0.5, apology=SORRY)


def test_an_apology_can_be_left_out() -> None:
    async def test(one: Talk) -> None:
        await one.connection.response.create()
        response = (await one.until("response.done"))["response"]
        assert response["status"] == "failed"
        assert response["output"] == []

    talk_to([Reply([b""], 500)], test, apology="")


def test_the_health_of_the_models_is_shown(server: Server) -> None:
    async def test(one: Talk) -> None:
        await one.say("How are you?")
        await one.answer()
        models = (await one.one.http("GET", "/health")).json()["models"]
        assert models["name"] == "demo"
        assert models["ear"]["name"] == "whisper tiny.en"
        assert models["brain"] == {"name": "demo"}
        assert models["voice"]["name"] == "local voice heart"
        assert models["ear"]["finished"] >= 1
        assert models["voice"]["finished"] >= 1

    server.talk(test)


def test_an_apology_is_the_default() -> None:
    assert "sorry" in Config().apology
