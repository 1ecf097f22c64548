"""Model servers over real HTTP: what they are asked, what they answer, and every way in which they fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.socket.model_server import ModelHost, Reply, serve

from offhook.model.cascade import Cascade
from offhook.model.http import ModelServer
from offhook.model.interface import ModelError, ModelOutput, Sound, Speech, Words
from offhook.model.openai_http import ChatCompletions, ChatOptions, chat_messages
from offhook.model.scripted import ScriptedBackend
from offhook.session.inputs import (
    AudioProduced,
    GenerationFinished,
    TextProduced,
    ToolArgumentsProduced,
    ToolCallStarted,
    WordsFinished,
)
from offhook.session.outputs import Generate
from offhook.testing.clock import JumpLoop
from offhook.testing.sync import close_loop
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputAudio, InputText, Message, OutputAudio
from offhook.wire.session import FunctionTool, ToolChoiceFunction, TranscriptionEcho


def request(**changes: Any) -> Generate:
    members: dict[str, Any] = {
        "run": 7,
        "response_id": "resp_1",
        "instructions": "Be brief.",
        "directed": False,
        "items": (Message(id="a", role="user", content=(InputAudio(transcript="When do you open?"),)),),
        "tools": (),
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "modality": "text",
        "voice": "marin",
        "speed": 1.0,
        "model": "gpt-realtime",
    }
    return Generate(**(members | changes))


def sse(*chunks: object) -> list[bytes]:
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]


def delta(finish: str | None = None, **members: object) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def collect(outputs: AsyncIterator[Any]) -> list[Any]:
    return [output async for output in outputs]


def chat(reply: Reply, wanted: Generate | None = None, timeout_s: float = 20) -> tuple[list[ModelOutput], ModelHost]:
    async def talk() -> tuple[list[ModelOutput], ModelHost]:
        async with serve(lambda _: reply) as host:
            mind = ChatCompletions(
                ModelServer("language model", host.url, "sk-model", timeout_s),
                ChatOptions("qwen", {"temperature": 0.2}),
            )
            await mind.start()
            try:
                return await collect(mind.generate(wanted or request())), host
            finally:
                await mind.stop()

    return asyncio.run(talk())


def failure(reply: Reply, timeout_s: float = 20) -> ModelError:
    with pytest.raises(ModelError) as caught:
        chat(reply, timeout_s=timeout_s)
    assert "sk-model" not in str(caught.value)
    return caught.value


def test_words_are_passed_on_as_they_come_in() -> None:
    usage = {
        "choices": [],
        "usage": {
            "prompt_tokens": 30,
            "completion_tokens": 4,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }
    outputs, host = chat(Reply(sse(delta(content="We open "), delta(content="at nine."), delta("stop"), usage)))
    assert outputs[:2] == [TextProduced(7, "We open "), TextProduced(7, "at nine.")]
    end = outputs[2]
    assert isinstance(end, GenerationFinished)
    assert end.usage is not None
    assert (end.usage.input_tokens, end.usage.output_tokens) == (30, 4)
    assert end.usage.input_token_details.cached_tokens == 8
    assert end.usage.output_token_details.reasoning_tokens == 3
    asked = host.received[0]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer sk-model"
    assert asked.json == {
        "model": "qwen",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "When do you open?"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.2,
    }


def test_function_calls_are_passed_on_one_after_the_other() -> None:
    def call(index: int, **members: object) -> dict[str, object]:
        return delta(tool_calls=[{"index": index, **members}])

    outputs, host = chat(
        Reply(
            sse(
                call(0, id="call_a", function={"name": "hours", "arguments": ""}),
                call(1, id="call_b", function={"name": "book", "arguments": '{"x"'}),
                call(0, function={"arguments": '{"day":'}),
                call(1, function={"arguments": ":1}"}),
                call(0, function={"arguments": '"mon"}'}),
                delta("tool_calls"),
            )
        ),
        request(
            tools=(
                FunctionTool(name="hours", description="d", parameters={"type": "object"}),
                FunctionTool(name="book"),
            ),
            tool_choice=ToolChoiceFunction(name="hours"),
            max_output_tokens=50,
        ),
    )
    assert outputs[:-1] == [
        ToolCallStarted(7, 0, "hours", "call_a"),
        ToolArgumentsProduced(7, 0, '{"day":'),
        ToolArgumentsProduced(7, 0, '"mon"}'),
        ToolCallStarted(7, 1, "book", "call_b"),
        ToolArgumentsProduced(7, 1, '{"x"'),
        ToolArgumentsProduced(7, 1, ":1}"),
    ]
    asked = host.received[0].json
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "hours"}}
    assert asked["max_tokens"] == 50
    assert asked["tools"] == [
        {"type": "function", "function": {"name": "hours", "description": "d", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "book", "parameters": {"type": "object", "properties": {}}}},
    ]


def call_delta(call_id: str | None, name: str | None, arguments: str, **members: object) -> dict[str, object]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return delta(tool_calls=[members | ({} if call_id is None else {"id": call_id}) | {"function": function}])


@pytest.mark.parametrize("index", [{}, {"index": None}, {"index": 0}])
def test_parallel_calls_of_a_server_that_does_not_number_them_are_told_apart(index: dict[str, object]) -> None:
    deltas = [
        call_delta("c1", "weather", '{"city":', **index),
        call_delta("c1", None, '"Rome"', **index),
        call_delta(None, None, "}", **index),
        call_delta("c2", "time", "", **index),
        call_delta("", None, '{"tz":"CET"}', **index),
        call_delta("c3", "time", "{}", **index),
    ]
    outputs, _ = chat(Reply(sse(*deltas, delta("tool_calls"))))
    assert outputs[:-1] == [
        ToolCallStarted(7, 0, "weather", "c1"),
        ToolArgumentsProduced(7, 0, '{"city":'),
        ToolArgumentsProduced(7, 0, '"Rome"'),
        ToolArgumentsProduced(7, 0, "}"),
        ToolCallStarted(7, 1, "time", "c2"),
        ToolArgumentsProduced(7, 1, '{"tz":"CET"}'),
        ToolCallStarted(7, 2, "time", "c3"),
        ToolArgumentsProduced(7, 2, "{}"),
    ]


def test_parallel_calls_without_ids_and_numbers_are_told_apart_by_whole_arguments() -> None:
    deltas = [
        call_delta("", "weather", '{"city":"Rome"}', index=0),
        call_delta("", "time", '{"tz":"CET"}', index=0),
    ]
    outputs, _ = chat(Reply(sse(*deltas, delta("tool_calls"))))
    assert outputs[:-1] == [
        ToolCallStarted(7, 0, "weather", None),
        ToolArgumentsProduced(7, 0, '{"city":"Rome"}'),
        ToolCallStarted(7, 1, "time", None),
        ToolArgumentsProduced(7, 1, '{"tz":"CET"}'),
    ]


@pytest.mark.parametrize("name", [None, "weather"])
def test_a_server_that_repeats_the_head_of_a_call_or_renames_it_makes_one_call(name: str | None) -> None:
    """Some servers make up an id for every piece, and some repeat the name."""
    ids = ("c1", "c2", "c3") if name is None else ("c1", "c1", "")
    deltas = [
        call_delta(ids[0], "weather", "", index=0),
        call_delta(ids[1], name, '{"city":', index=0),
        call_delta(ids[2], name, '"Rome"}', index=0),
    ]
    outputs, _ = chat(Reply(sse(*deltas, delta("tool_calls"))))
    assert outputs[:-1] == [
        ToolCallStarted(7, 0, "weather", "c1"),
        ToolArgumentsProduced(7, 0, '{"city":'),
        ToolArgumentsProduced(7, 0, '"Rome"}'),
    ]


def test_a_call_that_a_model_writes_as_text_is_called_and_not_read_out() -> None:
    pieces = [
        delta(content=part) for part in ("<think>Hm.</think>", '{"name": "weath', 'er", "arguments": {"day": 1}}')
    ]
    outputs, _ = chat(Reply(sse(*pieces, delta("stop"))), request(tools=(FunctionTool(name="weather"),)))
    assert outputs == [
        ToolCallStarted(7, 0, "weather"),
        ToolArgumentsProduced(7, 0, '{"day":1}'),
        GenerationFinished(7),
    ]


def test_a_model_that_calls_functions_without_end_fails() -> None:
    deltas = [call_delta(f"c{number}", "weather", "", index=number) for number in range(200)]
    assert "endless" in failure(Reply(sse(*deltas, delta("tool_calls")))).message


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_short_says_why(finish: str, reason: str) -> None:
    outputs, _ = chat(Reply(sse(delta(finish, content="And"))))
    assert isinstance(outputs[-1], GenerationFinished)
    assert outputs[-1].reason == reason


@pytest.mark.parametrize(
    ("reply", "code", "says"),
    [
        (Reply([b'{"error": {"message": "no such model"}}'], 404), "model_not_found", "no such model"),
        (Reply([b'{"error": "bad key"}'], 401), "invalid_api_key", "401: bad key"),
        (Reply([b"slow down\r\n\x1b[31m"], 429), "rate_limit_exceeded", "429: slow down"),
        (Reply([b""], 500), "model_error", "500: no reason given"),
        (Reply([b"x" * 10_000_000], 503), "model_error", "503"),
        (Reply([b""], 302, headers={"location": "http://127.0.0.1:1/"}), "model_error", "302"),
        (Reply([b"data: {not json}\n\n"]), "model_error", "not JSON"),
        (Reply([b'data: {"error": {"message": "out of memory"}}\n\n']), "model_error", "out of memory"),
        (Reply(sse(delta(content="We op"))[:1]), "model_error", "broke off"),
        (Reply(sse(delta(content="We op"))[:1], cut=True), "model_error", "broke"),
        (Reply([b"<html>hello</html>"]), "model_error", "broke off"),
        (Reply([b"data: " + b"x" * 3_000_000]), "model_error", "a line of more than"),
    ],
)
def test_a_server_that_fails_is_named_in_words(reply: Reply, code: str, says: str) -> None:
    found = failure(reply)
    assert found.code == code
    assert says in found.message
    assert found.message.isprintable()
    assert len(found.message) < 500


def test_a_server_that_is_silent_is_given_up() -> None:
    assert failure(Reply([], hang=True), timeout_s=0.2).code == "model_timeout"


class Slow(ModelServer):
    """A server that needs its time for every piece."""

    def __init__(self, pieces: list[bytes], pause_s: float, timeout_s: float) -> None:
        super().__init__("language model", "http://127.0.0.1:9/v1", None, timeout_s)
        self._pieces = pieces
        self._pause_s = pause_s

    @asynccontextmanager
    async def stream(self, builder: Any) -> AsyncIterator[Any]:
        del builder
        yield None

    async def chunks(self, response: Any) -> AsyncIterator[bytes]:
        del response
        for piece in self._pieces:
            await asyncio.sleep(self._pause_s)
            yield piece


def slowly(pieces: list[bytes], wanted: Generate) -> list[ModelOutput]:
    """Take an answer whose pieces come every 5 s from a server that may be silent for 8 s."""

    async def talk() -> list[ModelOutput]:
        mind = ChatCompletions(Slow(pieces, 5.0, 8.0), ChatOptions("qwen"))
        await mind.start()
        try:
            return await collect(mind.generate(wanted))
        finally:
            await mind.stop()

    loop = JumpLoop()
    try:
        return loop.run_until_complete(talk())
    finally:
        close_loop(loop)


def test_a_long_second_call_of_a_slow_model_is_no_silence() -> None:
    """Symptom: calls after the first, which wait for their turn, ended as a time-out."""

    def call(index: int, **members: object) -> dict[str, object]:
        return delta(tool_calls=[{"index": index, "function": members}])

    parts = ['{"x":"', *"long", '"}']
    pieces = sse(
        call(0, name="hours", arguments="{}"),
        call(1, name="book", arguments=""),
        *(call(1, arguments=part) for part in parts),
        delta("tool_calls"),
    )
    with pytest.raises(ModelError, match="did not answer within 8 s"):
        slowly(sse(call(0, name="hours", arguments="{}"), *[delta(role="assistant")] * 3, delta("stop")), request())
    outputs = slowly(pieces, request())
    assert [each.delta for each in outputs if isinstance(each, ToolArgumentsProduced)] == ["{}", *parts]


def test_a_long_call_that_a_slow_model_writes_as_text_is_no_silence() -> None:
    parts = ['{"name":"book",', '"arguments":', '{"x":', '"long"', "}}"]
    pieces = sse(*(delta(content=part) for part in parts), delta("stop"))
    outputs = slowly(pieces, request(tools=(FunctionTool(name="book"),)))
    assert ToolArgumentsProduced(7, 0, '{"x":"long"}') in outputs


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def talk() -> None:
        mind = ChatCompletions(ModelServer("language model", "http://127.0.0.1:1/v1", None, 2.0), ChatOptions("m"))
        await mind.start()
        with pytest.raises(ModelError) as caught:
            await collect(mind.generate(request()))
        await mind.stop()
        assert caught.value.code == "model_unavailable"

    run(talk())


def test_a_chat_model_never_reads_a_call_without_its_output() -> None:
    items = (
        Message(id="1", role="user", content=(InputText(text="Hi"),)),
        Message(id="2", role="user", content=(InputAudio(transcript=None),)),
        FunctionCall(id="3", name="hours", arguments="{}", call_id="c1"),
        FunctionCall(id="4", name="lost", arguments="{}", call_id="c2"),
        FunctionCallOutput(id="5", call_id="c1", output="nine"),
        Message(id="6", role="assistant", content=(OutputAudio(transcript="We open at nine."),)),
    )
    assert chat_messages("", items) == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "hours", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "nine"},
        {"role": "assistant", "content": "We open at nine."},
    ]


# -- the cascade


class Mind:
    """A language model that says its lines, or calls functions; a None among them is a failure."""

    def __init__(self, *lines: str | ToolCallStarted | None) -> None:
        self.lines = lines
        self.cancelled = False

    async def generate(self, wanted: Generate) -> AsyncIterator[ModelOutput]:
        try:
            for line in self.lines:
                if line is None:
                    raise ModelError("model_error", "it broke")
                yield TextProduced(wanted.run, line) if isinstance(line, str) else line
                await asyncio.sleep(0)
            if not self.lines:
                await asyncio.Event().wait()
            yield GenerationFinished(wanted.run)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class Voice:
    def __init__(self, *, fails: bool = False) -> None:
        self.spoken: list[str] = []
        self.fails = fails

    async def speak(self, text: str, voice: object, speed: float) -> AsyncIterator[Sound]:
        self.spoken.append(text)
        if self.fails:
            raise ModelError("tts_error", "no voice")
        yield Sound(b"\0\0" * 80, 8000)
        yield Sound(b"\0\0" * 80, 8000)


class Ear:
    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        yield Words("hm")


def test_a_cascade_speaks_sentence_by_sentence_and_ends_after_the_last_sound() -> None:
    voice = Voice()
    cascade = Cascade("c", Ear(), Mind("Dr. Smith is in. He ", "opens at 9.30", " today"), voice)
    outputs = asyncio.run(collect(cascade.respond(request(modality="audio"))))
    assert voice.spoken == ["Dr. Smith is in. ", "He opens at 9.30 today"]
    sounds = [output for output in outputs if isinstance(output, AudioProduced)]
    assert [sound.text for sound in sounds] == ["Dr. Smith is in. ", "", "He opens at 9.30 today", ""]
    assert sounds[0].duration_ms == 10
    assert isinstance(outputs[-1], GenerationFinished)


def test_words_are_told_as_finished_before_they_are_spoken_and_every_sound_names_its_message() -> None:
    """What is said before a function call is spoken at once, and not in one breath with what comes after it."""
    call = ToolCallStarted(7, 0, "hours", "c1")
    voice = Voice()
    cascade = Cascade("c", Ear(), Mind("\n", "One moment", call, " ", "So"), voice)
    outputs = asyncio.run(collect(cascade.respond(request(modality="audio"))))
    assert voice.spoken == ["One moment", "So"]
    assert outputs.index(WordsFinished(7)) < len(outputs) - 1
    sounds = [output for output in outputs if isinstance(output, AudioProduced)]
    assert [(sound.message, sound.text) for sound in sounds] == [(0, "One moment"), (0, ""), (1, "So"), (1, "")]


def test_words_that_were_cut_short_are_not_told_as_finished() -> None:
    class Cut(Mind):
        async def generate(self, wanted: Generate) -> AsyncIterator[ModelOutput]:
            yield TextProduced(wanted.run, "Well")
            yield GenerationFinished(wanted.run, "max_output_tokens")

    outputs = asyncio.run(collect(Cascade("c", Ear(), Cut(), Voice()).respond(request(modality="audio"))))
    assert WordsFinished(7) not in outputs


def test_a_written_response_makes_no_sound() -> None:
    voice = Voice()
    outputs = asyncio.run(collect(Cascade("c", Ear(), Mind("Hello."), voice).respond(request())))
    assert voice.spoken == []
    assert outputs == [TextProduced(7, "Hello."), GenerationFinished(7)]


@pytest.mark.parametrize(
    ("mind", "voice", "code"),
    [(Mind("Well. ", None), Voice(), "model_error"), (Mind("Well. "), Voice(fails=True), "tts_error")],
)
def test_a_part_that_fails_fails_the_response(mind: Mind, voice: Voice, code: str) -> None:
    with pytest.raises(ModelError) as caught:
        asyncio.run(collect(Cascade("c", Ear(), mind, voice).respond(request(modality="audio"))))
    assert caught.value.code == code


def test_a_bug_in_a_part_comes_out_and_does_not_hang_the_response() -> None:
    class Broken(Mind):
        async def generate(self, wanted: Generate) -> AsyncIterator[ModelOutput]:
            yield TextProduced(wanted.run, "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(collect(Cascade("c", Ear(), Broken(), Voice()).respond(request(modality="audio"))))


def test_cancelling_a_response_stops_the_model() -> None:
    mind = Mind()

    async def talk() -> None:
        task = asyncio.create_task(collect(Cascade("c", Ear(), mind, Voice()).respond(request(modality="audio"))))
        for _ in range(10):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(talk())
    assert mind.cancelled


# -- the scripted model


def test_answer_n_of_a_call_is_tone_n() -> None:
    from offhook.audio.pcm import from_bytes
    from offhook.audio.tone import find_tones

    outputs = asyncio.run(collect(ScriptedBackend().respond(request(modality="audio", run=3))))
    assert outputs[0] == TextProduced(3, "Scripted answer number 3.")
    (tone,) = find_tones(from_bytes(outputs[1].pcm))
    assert (tone.number, tone.end_ms - tone.start_ms) == (3, 2000)


def test_a_demanded_function_is_called_once() -> None:
    tool = FunctionTool(name="hours")
    wanted = request(tools=(tool,), tool_choice="required")
    assert asyncio.run(collect(ScriptedBackend().respond(wanted)))[0] == ToolCallStarted(7, 0, "hours")
    answered = request(
        tools=(tool,), tool_choice="required", items=(FunctionCallOutput(id="1", call_id="c", output="x"),)
    )
    assert isinstance(asyncio.run(collect(ScriptedBackend().respond(answered)))[0], TextProduced)
