"""Every field of every client event, one by one, made odd: a clear error or obedience, never a dead session."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.talk import Talk, one, types
from tests.oracle import samples
from tests.property.test_wire_fuzz import mutate, places

from offhook.session import inputs as happened

ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    0.5,
    2**63,
    10**400,
    "",
    "x",
    "item_000000000000000000002",
    "\u0000\u2028" * 300,
    [],
    [None],
    {},
    {"type": "x"},
)
CODES = {
    "invalid_value",
    "invalid_type",
    "invalid_json",
    "unknown_parameter",
    "missing_required_parameter",
    "invalid_tool_call_id",
    "input_audio_buffer_commit_empty",
    "response_cancel_not_active",
    "conversation_already_has_active_response",
    "cannot_update_voice",
    "item_retrieve_invalid_item_id",
    "item_truncate_invalid_item_id",
    "item_delete_invalid_item_id",
    "rate_limit_exceeded",
}


def busy_talk() -> Talk:
    """A session in the middle of things: something was said, answered and interrupted, and a tool waits."""
    talk = Talk(tools=[{"type": "function", "name": "f"}])
    talk.says()
    talk.answers()
    talk.happens(happened.PlayoutStarted(talk.generate().run))
    talk.client("conversation.item.create", item=_text("item_000000000000000000002"))
    return talk


def _text(item_id: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": "Known."}]
    return {"id": item_id, "type": "message", "role": "user", "content": content}


def send(talk: Talk, event: Any) -> None:
    before = talk.engine.session
    events = talk.client(event.get("type", ""), **{name: value for name, value in event.items() if name != "type"})
    errors = [each["error"] for each in events if each["type"] == "error"]
    if errors:
        assert len(events) == 1, "refused as a whole"
        assert errors[0]["code"] in CODES, errors
        assert errors[0]["message"]
        assert talk.engine.session is before, "a refused event changes nothing"
    for response in talk.engine.responses:
        assert "response.done" in types(talk.client("response.cancel", response_id=response.id))


def is_alive(talk: Talk) -> None:
    assert types(talk.client("session.update", session={"type": "realtime", "instructions": "x"}))[0] == (
        "session.updated"
    )
    talk.client("response.create", response={"conversation": "none", "output_modalities": ["text"], "input": []})
    events = talk.happens(happened.GenerationFinished(talk.generate().run))
    assert one(events, "response.done")["response"]["status"] in {"completed", "failed"}


@pytest.mark.parametrize("event", samples("client"), ids=lambda event: str(event["type"]))
def test_every_field_made_odd(event: dict[str, Any]) -> None:
    talk = busy_talk()
    for path in places(event):
        for odd in (*ODD, ...):
            changed = json.loads(json.dumps(event))
            here = changed
            for key in path[:-1]:
                here = here[key]
            if odd is ...:
                del here[path[-1]]
            else:
                here[path[-1]] = odd
            send(talk, changed)
    is_alive(talk)


@given(st.data(), st.lists(st.sampled_from(samples("client")), min_size=1, max_size=6))
@settings(max_examples=60)
def test_several_changed_events_in_a_row(data: st.DataObject, events: list[dict[str, Any]]) -> None:
    talk = busy_talk()
    for event in events:
        changed = mutate(data, event)
        if isinstance(changed, dict):
            send(talk, changed)
    is_alive(talk)
