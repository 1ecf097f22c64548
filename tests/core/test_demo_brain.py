"""The demo brain: it says what it is, holds a small talk, obeys, and calls functions with what was heard."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.model.demo_brain import DISCLAIMER, GREETING, NOT_HEARD, STILL_HERE, answer
from offhook.session.inputs import GenerationFinished, TextProduced, ToolArgumentsProduced, ToolCallStarted
from offhook.session.outputs import Generate
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputAudio, InputText, Item, Message, OutputAudio
from offhook.wire.session import FunctionTool, ToolChoiceFunction

BEFORE = Message(role="assistant", content=(OutputAudio(transcript=GREETING),))
HOURS = FunctionTool(
    name="get_opening_hours",
    description="Returns when the clinic is open on a weekday.",
    parameters={"type": "object", "properties": {"day": {"type": "string"}}},
)
BOOK = FunctionTool(name="bookTable", description="Reserve a table.")


def caller(text: str | None) -> Message:
    return Message(role="user", content=(InputAudio(transcript=text),))


def request(*items: Item, **changes: Any) -> Generate:
    members: dict[str, Any] = {
        "run": 3,
        "response_id": "resp_1",
        "instructions": 'You are a receptionist. Greet people with "Welcome".',
        "directed": False,
        "items": items,
        "tools": (),
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "modality": "audio",
        "voice": "marin",
        "speed": 1.0,
        "model": "gpt-realtime",
    }
    return Generate(**(members | changes))


def says(*items: Item, **changes: Any) -> str:
    said, end = answer(request(*items, **changes))
    assert isinstance(said, TextProduced)
    assert end == GenerationFinished(3)
    return said.text


def calls(*items: Item, **changes: Any) -> tuple[str, dict[str, Any]]:
    started, produced, end = answer(request(*items, **changes))
    assert isinstance(started, ToolCallStarted)
    assert isinstance(produced, ToolArgumentsProduced)
    assert (started.index, produced.index, end) == (0, 0, GenerationFinished(3))
    found: dict[str, Any] = msgspec.json.decode(produced.delta)
    return started.name, found


# -- talk


def test_whoever_is_greeted_or_asks_first_is_told_that_it_is_a_demo() -> None:
    assert says() == GREETING
    assert says(caller("Hello!")) == GREETING
    assert "demo" in GREETING
    assert says(caller("The sky is blue.")) == f"{DISCLAIMER} I heard you say: The sky is blue."
    assert "demo" in DISCLAIMER


@pytest.mark.parametrize(
    ("heard", "says_something_of"),
    [
        ("Hi there.", "Hello"),
        ("How are you today?", "I am fine"),
        ("What\u2019s your name?", "I am the demo"),
        ("Are you a robot?", "I am the demo"),
        ("What time is it?", "I know neither the time"),
        ("When are you open on Saturdays?", "nor any opening hours"),
        ("Thank you very much.", "You are welcome"),
        ("Okay, bye.", "Goodbye"),
        ("What can you do?", "I repeat"),
        ("", NOT_HEARD),
        ("My parrot says thank you to everybody who comes in.", "I heard you say: My parrot says thank you"),
    ],
)
def test_it_holds_a_small_talk_and_repeats_the_rest(heard: str, says_something_of: str) -> None:
    reply = says(BEFORE, caller(heard))
    assert says_something_of in reply
    assert DISCLAIMER not in reply


def test_what_was_typed_counts_as_heard() -> None:
    assert "blue" in says(BEFORE, Message(role="user", content=(InputText(text="The sky\n is blue."),)))


def test_a_response_that_nobody_asked_anything_for_repeats_no_old_words() -> None:
    assert says(caller("The sky is blue."), BEFORE) == STILL_HERE


def test_it_says_no_more_than_it_may() -> None:
    said, end = answer(request(caller("The sky is blue."), max_output_tokens=5))
    assert said == TextProduced(3, "This is the demo of")
    assert end == GenerationFinished(3, "max_output_tokens")


# -- instructions


@pytest.mark.parametrize(
    ("instructions", "said"),
    [
        ("Say: Please hold the line.", "Please hold the line."),
        ('Say exactly: "Please hold the line." Nothing else.', "Please hold the line."),
        ("Greet the caller with \u201cWelcome to the clinic.\u201d", "Welcome to the clinic."),
        ("Tell the caller 'It\u2019s late, isn't it?' and no more", "It\u2019s late, isn't it?"),
        ("say to the user, word by word: one\n two", "one two"),
        ("Greet the user.", GREETING),
    ],
)
def test_a_response_of_its_own_says_what_it_was_told_to_say(instructions: str, said: str) -> None:
    assert says(BEFORE, caller("Well."), instructions=instructions, directed=True).startswith(said)
    assert says(instructions=instructions, directed=True).startswith(said)


def test_instructions_of_the_session_are_not_read_aloud() -> None:
    assert says(BEFORE, caller("Well then.")) == "I heard you say: Well then."


def test_instructions_without_words_to_say_change_nothing() -> None:
    assert "blue" in says(BEFORE, caller("The sky is blue."), instructions="Be very brief.", directed=True)


# -- functions


@pytest.mark.parametrize(
    ("heard", "function"),
    [
        ("When do you open?", "get_opening_hours"),
        ("Is the clinic there on a Monday?", "get_opening_hours"),
        ("I would like to reserve something.", "bookTable"),
        ("Can I book a table for two?", "bookTable"),
    ],
)
def test_a_function_is_called_when_one_of_its_words_was_heard(heard: str, function: str) -> None:
    assert calls(BEFORE, caller(heard), tools=(HOURS, BOOK))[0] == function


def test_without_such_a_word_none_is_called() -> None:
    assert "sky" in says(BEFORE, caller("Can you tell me about the sky?"), tools=(HOURS, BOOK))


def test_tool_choice_is_obeyed() -> None:
    asks = caller("When do you open?")
    tools = (BOOK, HOURS)
    assert "I know neither" in says(BEFORE, asks, tools=tools, tool_choice="none")
    assert calls(BEFORE, asks, tools=tools, tool_choice="required")[0] == "get_opening_hours"
    assert calls(BEFORE, caller("Well."), tools=tools, tool_choice="required")[0] == "bookTable"
    named = ToolChoiceFunction(name="bookTable")
    assert calls(BEFORE, asks, tools=tools, tool_choice=named)[0] == "bookTable"
    assert calls(tools=(HOURS,), tool_choice=ToolChoiceFunction(name="get_opening_hours")) == ("get_opening_hours", {})
    assert says(tools=tools, tool_choice=ToolChoiceFunction(name="unknown")) == GREETING


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("On Monday we are open from nine to five.", "On Monday we are open from nine to five."),
        ('{"open": true, "closesAt": 17.5, "days": ["Monday", "Tuesday"]}', "open is yes, closes at is 17.5, days is"),
        ('"A string"', "A string."),
        ("", "It is done."),
        ("[[[[[1]]]]]", "something longer."),
    ],
)
@pytest.mark.parametrize("tool_choice", ["auto", "required", ToolChoiceFunction(name="get_opening_hours")])
def test_the_result_of_a_function_is_spoken_and_the_function_not_called_again(
    output: str, said: str, tool_choice: Any
) -> None:
    items = [
        BEFORE,
        caller("When do you open?"),
        FunctionCall(name="get_opening_hours", arguments="{}", call_id="c"),
        FunctionCallOutput(call_id="c", output=output),
    ]
    assert says(*items, tools=(HOURS,), tool_choice=tool_choice).startswith(said)
    assert calls(*items, BEFORE, caller("And when do you open?"), tools=(HOURS,), tool_choice=tool_choice)


def test_a_long_result_is_cut_between_words() -> None:
    said = says(BEFORE, FunctionCall(name="f", arguments="{}", call_id="c"),
                FunctionCallOutput(call_id="c", output="word " * 1000))  # fmt: skip
    assert said.endswith("word, and so on.")
    assert len(said) < 450


# -- arguments


def argued(heard: str, properties: dict[str, Any], *required: str) -> dict[str, Any]:
    tool = FunctionTool(name="act", parameters={"type": "object", "properties": properties, "required": list(required)})
    return calls(BEFORE, caller(heard), tools=(tool,), tool_choice="required")[1]


TEXT: dict[str, Any] = {"type": "string"}


@pytest.mark.parametrize(
    ("heard", "name", "value"),
    [
        ("Are you open next Saturday?", "day", "next Saturday"),
        ("Come on May 5th at 3 pm.", "appointment_date", "May 5th"),
        ("Come on May 5th at 3 pm.", "time", "3 pm"),
        ("Come on the 5th at 9.", "time", "9"),
        ("Hello, my name is Ada Lovelace and I call about", "customerName", "Ada Lovelace"),
        ("My number is 555-0123.", "phone", "555-0123"),
        ("Write to ada@example.com, please.", "email", "ada@example.com"),
        ("How is the weather in New York today?", "city", "New York"),
        ("My order is the red bicycle.", "order", "the red bicycle"),
    ],
)
def test_strings_are_the_heard_words_that_fit(heard: str, name: str, value: str) -> None:
    assert argued(heard, {name: TEXT}) == {name: value}


def test_what_does_not_fit_is_left_out_unless_it_is_required() -> None:
    assert argued("Well then.", {"day": TEXT, "note": TEXT}) == {}
    assert argued("Well then.", {"day": TEXT, "note": TEXT}, "note") == {"note": "Well then."}


def test_numbers_are_found_as_digits_and_words_and_each_is_used_once() -> None:
    number, whole = {"type": "number"}, {"type": "integer"}
    found = argued("A table for four, for 2.5 hours.", {"guests": whole, "hours": number, "dogs": whole})
    assert found == {"guests": 4, "hours": 2.5}
    assert argued("A table.", {"guests": {"type": "integer", "minimum": 1}}, "guests") == {"guests": 1}
    assert isinstance(argued("Seven.", {"guests": whole})["guests"], int)


def test_enums_are_matched_by_their_words() -> None:
    color = {"type": "string", "enum": ["red", "light_blue", "green"]}
    assert argued("The light blue one, please.", {"color": color}) == {"color": "light_blue"}
    assert argued("Redder than that.", {"color": color}) == {}
    assert argued("Any.", {"color": color}, "color") == {"color": "red"}


def test_all_that_is_required_is_there_and_of_its_type() -> None:
    properties = {
        "flag": {"type": "boolean"},
        "list": {"type": "array", "items": TEXT},
        "inner": {"type": "object", "properties": {"day": TEXT}},
        "count": {"type": ["null", "integer"]},
        "level": {"type": "string", "default": "low"},
        "kind": {"const": "x"},
    }
    found = argued("Well.", properties, *properties)
    assert found == {"flag": False, "list": [], "inner": {}, "count": 0, "level": "low", "kind": "x"}
    heard = argued("No flag on Monday.", properties, *properties)
    assert (heard["flag"], heard["inner"]) == (False, {"day": "Monday"})
    assert argued("With the flag.", properties)["flag"] is True


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
KINDS = st.sampled_from(["string", "integer", "boolean", "array", "object", "nonsense", ["null", "string"], 7])
SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": KINDS}) | JSON,
    lambda inner: st.fixed_dictionaries(
        {"type": KINDS, "properties": st.dictionaries(st.text(max_size=8), inner, max_size=3) | JSON, "required": JSON}
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), SCHEMAS, max_size=4) | SCHEMAS, st.text(max_size=60))
def test_no_schema_and_no_words_confuse_it(schema: Any, heard: str) -> None:
    tool = FunctionTool(name="act", parameters={"type": "object", "properties": schema})
    wanted = request(BEFORE, caller(heard), tools=(tool,), tool_choice="required")
    assert answer(wanted) == answer(wanted)


@given(st.text(max_size=200), st.text(max_size=200) | st.text("'\" \u201c\u2019say:x", max_size=40))
def test_no_result_and_no_instructions_confuse_it(output: str, instructions: str) -> None:
    call = FunctionCall(name="f", arguments="{}", call_id="c")
    items = (BEFORE, call, FunctionCallOutput(call_id="c", output=output))
    assert says(*items).strip()
    assert says(*items, instructions=instructions, directed=True).strip()
