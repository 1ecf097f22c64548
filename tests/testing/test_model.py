"""The scripted model acts by its rules, in their order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from offhook.audio.pcm import to_bytes
from offhook.audio.resample import resample
from offhook.model.interface import ModelError, ModelOutput, Speech
from offhook.session.inputs import AudioProduced, GenerationFinished, TextProduced, ToolCallStarted
from offhook.session.outputs import Generate
from offhook.testing.model import Calls, Fails, ScriptedModel
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputText, Item, Message, OutputAudio
from offhook.wire.session import FunctionTool


def said(text: str) -> Message:
    return Message(role="user", content=(InputText(text=text),))


def request(*items: Item, told: str = "", tools: tuple[str, ...] = (), modality: Any = "audio") -> Generate:
    return Generate(
        run=1,
        response_id="resp_1",
        instructions=told or "Be kind.",
        directed=bool(told),
        items=items,
        tools=tuple(FunctionTool(name=name) for name in tools),
        tool_choice="auto",
        max_output_tokens="inf",
        modality=modality,
        voice="marin",
        speed=1.0,
        model="gpt-realtime",
    )


def respond(model: ScriptedModel, asked: Generate) -> list[ModelOutput]:
    async def whole() -> list[ModelOutput]:
        return [output async for output in model.respond(asked)]

    return asyncio.run(whole())


def words(outputs: list[ModelOutput]) -> str:
    return "".join(output.text for output in outputs if isinstance(output, TextProduced)).strip()


def test_what_was_said_last_decides() -> None:
    model = ScriptedModel().hears("book a table", "For how many?").hears("Table", "Which table?").otherwise("Pardon?")
    assert words(respond(model, request(said("I want to BOOK a table!")))) == "For how many?"
    assert words(respond(model, request(said("a table"), said("the weather")))) == "Pardon?"
    assert words(respond(model, request(said("tables")))) == "Pardon?", "whole words"


def test_results_come_before_instructions_turns_and_words() -> None:
    model = ScriptedModel().hears("day", "heard").turn(1, "turn one").told("greet", "told").result("look", str.upper)
    call = FunctionCall(name="look", arguments="{}", call_id="call_1")
    output = FunctionCallOutput(call_id="call_1", output="nine")
    assert words(respond(model, request(said("what day"), call, output))) == "NINE"
    assert words(respond(model, request(said("what day"), told="Greet the caller"))) == "told"
    assert words(respond(model, request(said("what day")))) == "turn one"
    assert words(respond(model, request(said("hm"), said("what day")))) == "heard"


def test_before_the_caller_has_spoken_it_greets() -> None:
    model = ScriptedModel().greets("Good morning.")
    assert words(respond(model, request())) == "Good morning."
    greeted = Message(role="assistant", content=(OutputAudio(transcript="Good morning."),))
    assert words(respond(model, request(greeted))) == "Good morning."
    assert words(respond(model, request(said("hi")))) == "I have no script for this."


def test_several_acts_follow_each_other() -> None:
    model = ScriptedModel().otherwise("One moment.", Calls("a", {"x": 1}), Calls("b"))
    outputs = respond(model, request(said("go"), tools=("a", "b")))
    assert words(outputs) == "One moment."
    calls = [(output.index, output.name) for output in outputs if isinstance(output, ToolCallStarted)]
    assert calls == [(0, "a"), (1, "b")]
    assert isinstance(outputs[-1], GenerationFinished)


def test_an_answer_in_writing_has_no_sound_and_a_spoken_one_has_its_words_placed() -> None:
    model = ScriptedModel().otherwise("Nine o'clock. Not later.")
    written = respond(model, request(said("when"), modality="text"))
    assert not any(isinstance(output, AudioProduced) for output in written)
    spoken = [output for output in respond(model, request(said("when"))) if isinstance(output, AudioProduced)]
    assert [output.text for output in spoken] == ["Nine ", "o'clock. ", "Not ", "later. "]
    assert all(len(output.pcm) / 16 == output.duration_ms for output in spoken)


def test_a_failure_has_the_code_that_the_script_says() -> None:
    with pytest.raises(ModelError) as caught:
        respond(ScriptedModel().otherwise(Fails("rate_limit_exceeded")), request(said("go")))
    assert caught.value.code == "rate_limit_exceeded"


def test_what_it_was_asked_is_kept() -> None:
    model = ScriptedModel()
    respond(model, request(said("one")))
    respond(model, request(said("two"), tools=("book",)))
    assert [len(asked.tools) for asked in model.requests] == [0, 1]


@pytest.mark.parametrize("rate_hz", [8000, 24_000])
def test_it_hears_calls_and_sockets_alike(rate_hz: int) -> None:
    async def heard() -> str:
        model = ScriptedModel()
        (sentence,) = model.book.speak("When are you open, please?")
        speech = Speech(to_bytes(resample(sentence.samples, 8000, rate_hz)), rate_hz)
        return " ".join([words.text async for words in model.transcribe(speech, None)])

    assert asyncio.run(heard()) == "When are you open, please?"
