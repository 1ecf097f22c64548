"""Thoughts and function calls that a model writes as text are not read out to the caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.model.wording import MAX_HELD_CHARS, Wording, WrittenCall

FUNCTIONS = frozenset({"hours", "weather"})
CALL = '{"name": "hours", "arguments": {"day": "Monday"}}'
HOURS = WrittenCall("hours", '{"day":"Monday"}')


def read(text: str, size: int = 1, functions: frozenset[str] = FUNCTIONS) -> tuple[str, list[WrittenCall]]:
    """Feed a text in pieces; return what is said, and what is called."""
    wording = Wording(functions)
    said = "".join(wording.feed(text[start : start + size]) for start in range(0, len(text), size))
    rest, calls = wording.end()
    return said + rest, calls


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("We open at nine.", "We open at nine."),
        ("<think>The caller asks, hm.</think>\n\nWe open at nine.", "We open at nine."),
        ("  <think>a < b</think><think>and more</think>Nine.", "Nine."),
        ("<thinking of you>", "<thinking of you>"),
        ("<think>without end", ""),
        ("I <think> so.", "I <think> so."),
        ('{"hours": "nine to five"}', '{"hours": "nine to five"}'),
        ('{"name": "transfer", "arguments": {}}', '{"name": "transfer", "arguments": {}}'),
        ("{curly} words", "{curly} words"),
        ("```python\nprint(1)```", "```python\nprint(1)```"),
        ("[brackets] are words", "[brackets] are words"),
        ("", ""),
    ],
)
def test_words_are_said_and_thoughts_are_not(text: str, said: str, size: int) -> None:
    assert read(text, size) == (said, [])


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (CALL, [HOURS]),
        (f" \n{CALL}\n", [HOURS]),
        (f"```json\n{CALL}\n```", [HOURS]),
        (f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>{CALL}</tool_call>", [HOURS, HOURS]),
        (f"[{CALL}, {CALL}]", [HOURS, HOURS]),
        (f"<think>I should look it up.</think>{CALL}", [HOURS]),
        ('{"name": "weather", "parameters": {}}', [WrittenCall("weather", "{}")]),
        ('{"type": "function", "function": {"name": "weather", "arguments": "{}"}}', [WrittenCall("weather", "{}")]),
    ],
)
def test_a_call_that_is_written_as_text_is_a_call(text: str, calls: list[WrittenCall], size: int) -> None:
    assert read(text, size) == ("", calls)


def test_words_are_passed_on_as_they_come() -> None:
    wording = Wording(FUNCTIONS)
    assert [wording.feed(word) for word in ("We", " open", " at {nine}")] == ["We", " open", " at {nine}"]


def test_without_functions_nothing_is_taken_for_a_call() -> None:
    wording = Wording(frozenset())
    assert wording.feed(CALL) == CALL


def test_what_is_too_long_for_a_call_is_said() -> None:
    said, calls = read("{" + "x" * (MAX_HELD_CHARS + 10), 1000)
    assert (len(said), calls) == (MAX_HELD_CHARS + 11, [])


@given(st.lists(st.sampled_from(["<think>", "</think>", "{", "```", "<tool_call>", '"name"', " ", "words"])))
def test_whatever_is_written_nothing_is_said_twice(parts: list[str]) -> None:
    text = "".join(parts)
    said, calls = read(text)
    assert calls == []
    assert said == "" or text.endswith(said)
