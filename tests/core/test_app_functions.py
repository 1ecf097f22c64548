"""Whose a function is: an application answers names that nobody knows only while it is alone on its call."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from offhook import types
from offhook.app import limits
from offhook.app.facts import OutputItem, ResponseEnded, ResponseFacts, SessionBegan, SessionChanged, read_fact
from offhook.app.functions import Functions, function_name


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name}


def functions(*tools: Any, **accepted: Any) -> Functions:
    return Functions(["ours"], {"tools": tools, **accepted})


@pytest.mark.parametrize("tools", [(), (function("ours"),), (function("ours"), {"type": "mcp", "server_label": "x"})])
def test_a_name_that_nobody_knows_is_answered_while_all_functions_are_ones_own(tools: Any) -> None:
    assert functions(*tools).is_ours("nobody")


@pytest.mark.parametrize("theirs", [function("theirs"), types.FunctionTool(name="theirs")])
def test_beside_a_function_of_somebody_else_only_ones_own_names_are_answered(theirs: Any) -> None:
    known = functions(function("ours"), theirs)
    assert [known.is_ours(name) for name in ("ours", "theirs", "nobody")] == [True, False, False]


def test_a_function_that_went_out_of_force_may_still_be_called_and_is_not_ours() -> None:
    known = functions(function("theirs"))
    known.put_in_force(["ours", None])
    assert [known.is_ours(name) for name in ("theirs", "nobody")] == [False, True]


@pytest.mark.parametrize("prompt", [{"id": "pmpt_1"}, types.Prompt(id="pmpt_1")])
def test_a_stored_prompt_may_bring_functions_until_the_server_says_what_is_in_force(prompt: Any) -> None:
    known = functions(prompt=prompt)
    assert not known.is_ours("nobody")
    known.put_in_force(["ours"])
    assert known.is_ours("nobody")


@pytest.mark.parametrize("prompt", [None, msgspec.UNSET])
def test_no_prompt_is_no_prompt(prompt: Any) -> None:
    assert functions(prompt=prompt).is_ours("nobody")


def test_functions_of_a_single_response_are_whose_they_are() -> None:
    known = functions()
    known.add_for_response(types.ResponseParams(tools=(types.FunctionTool(name="theirs"),)))
    assert [known.is_ours(name) for name in ("theirs", "nobody")] == [False, True]
    known.add_for_response({"prompt": {"id": "pmpt_1"}})
    assert [known.is_ours(name) for name in ("ours", "nobody")] == [True, False]


def test_names_of_others_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_OTHER_FUNCTIONS", 2)
    known = functions()
    known.add_for_response({"tools": [function("one"), function("two"), function("three")]})
    assert [known.is_ours(name) for name in ("one", "two", "three")] == [True, False, False]


@pytest.mark.parametrize("response", [None, msgspec.UNSET, {}, {"tools": "none"}, {"tools": [1, {"type": "function"}]}])
def test_a_response_that_brings_no_functions_changes_nothing(response: Any) -> None:
    known = functions()
    known.add_for_response(response)
    assert known.is_ours("nobody")


@pytest.mark.parametrize(("type_", "kind"), [("session.created", SessionBegan), ("session.updated", SessionChanged)])
def test_a_server_tells_the_functions_in_force(type_: str, kind: type) -> None:
    session = {"tools": [{"type": "mcp", "server_label": "m"}, function("book")]}
    fact = read_fact(msgspec.json.encode({"type": type_, "session": session}))
    assert isinstance(fact, SessionChanged)
    assert type(fact) is kind
    assert fact.tools is not None
    assert [function_name(each) for each in fact.tools] == [None, "book"]


@pytest.mark.parametrize("type_", ["session.created", "session.updated"])
def test_a_server_that_writes_null_for_its_tools_still_tells_who_takes_turns(type_: str) -> None:
    for detection, takes_turns in [(None, False), ({"type": "server_vad"}, True)]:
        session = {"tools": None, "audio": {"input": {"turn_detection": detection}}}
        fact = read_fact(msgspec.json.encode({"type": type_, "session": session}))
        assert isinstance(fact, SessionChanged)
        assert (fact.tools, fact.takes_turns) == (None, takes_turns)


@pytest.mark.parametrize("audio", [None, {"input": None}, {"input": {"turn_detection": 7}}])
def test_a_server_that_tells_nothing_of_turns_still_tells_its_tools(audio: Any) -> None:
    session = {"tools": [function("book"), None, {"type": "function", "name": 1}], "audio": audio}
    fact = read_fact(msgspec.json.encode({"type": "session.updated", "session": session}))
    assert isinstance(fact, SessionChanged)
    assert fact.tools is not None
    assert [function_name(each) for each in fact.tools] == ["book", None]
    assert fact.takes_turns is None


def test_a_function_is_called_whatever_else_an_answer_has() -> None:
    words = {"type": "message", "name": None, "arguments": None, "call_id": None, "content": "none"}
    called = {"type": "function_call", "name": "book", "arguments": "{}", "call_id": "call_1", "content": 1}
    response = {"id": "resp_1", "status": None, "output": [words, called], "conversation_id": None, "metadata": 0}
    fact = read_fact(msgspec.json.encode({"type": "response.done", "response": response}))
    output = [OutputItem(type="message"), OutputItem("function_call", "book", "{}", "call_1")]
    assert fact == ResponseEnded(ResponseFacts("resp_1", output=output, conversation_id=None))
