"""What a chat model is given of a conversation is what its template can read."""

from __future__ import annotations

import pytest

from offhook.model.openai_http import chat_messages
from offhook.wire.items import FunctionCall, FunctionCallOutput


def called(arguments: str) -> FunctionCall:
    return FunctionCall(id="item_1", call_id="call_1", name="f", arguments=arguments)


ANSWERED = FunctionCallOutput(id="item_2", call_id="call_1", output="done")


@pytest.mark.parametrize(
    ("arguments", "read"),
    [('{"day": "Monday"}', '{"day": "Monday"}'), ("", "{}"), ('{"day": "Mon', "{}"), ("[1]", "{}"), ('{"a": }', "{}")],
)
def test_arguments_that_broke_off_are_not_given_to_a_template_that_parses_them(arguments: str, read: str) -> None:
    messages = chat_messages("", (called(arguments), ANSWERED))
    assert messages[0]["tool_calls"][0]["function"]["arguments"] == read
    assert messages[1] == {"role": "tool", "tool_call_id": "call_1", "content": "done"}


def test_a_call_that_a_client_added_again_is_read_once() -> None:
    again = FunctionCall(id="item_3", call_id="call_1", name="f", arguments="{}")
    assert [message["role"] for message in chat_messages("", (called("{}"), ANSWERED, again))] == ["assistant", "tool"]
