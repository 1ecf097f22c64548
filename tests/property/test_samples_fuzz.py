"""Every field of every client event, one by one, made odd: a clear error or obedience, never a dead session."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.talk import SocketTalk, Talk, TranscriptionTalk, one, types
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


# These are about the state of the session, not about a member of the event.
OF_STATE = {
    "input_audio_buffer_commit_empty",
    "response_cancel_not_active",
    "conversation_already_has_active_response",
    "rate_limit_exceeded",
    "invalid_json",
}
# Objects with members of the client's choice.
FREE = {"metadata", "variables", "parameters", "properties"}
Path = tuple[Any, ...]


def busy_talk() -> Talk:
    """A call in the middle of things: something was said, answered and interrupted, and a tool waits."""
    talk = Talk(tools=[{"type": "function", "name": "f"}])
    talk.says()
    talk.answers()
    talk.happens(happened.PlayoutStarted(talk.generate().run))
    talk.client("conversation.item.create", item=_text("item_000000000000000000002"))
    return talk


def busy_socket() -> Talk:
    """The same on a socket."""
    talk = SocketTalk(tools=[{"type": "function", "name": "f"}])
    talk.says()
    talk.answers()
    talk.client("conversation.item.create", item=_text("item_000000000000000000002"))
    return talk


def busy_transcription() -> Talk:
    """A socket that only listens, on which something was said."""
    talk = TranscriptionTalk()
    talk.says()
    return talk


def _text(item_id: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": "Known."}]
    return {"id": item_id, "type": "message", "role": "user", "content": content}


def send(talk: Talk, event: Any, changed: Path | None = None, known: tuple[Any, Any] | None = None) -> None:
    """Send an event of which a place was changed; it is obeyed, or refused by name and without a trace.

    ``known``: what is wrong with it in any case, by its code and ``param``.
    """
    engine = talk.engine
    before = engine.session, [item.id for item in engine.conversation], len(engine.responses)
    given_id = event.get("event_id")
    events = as_sent(talk, event)
    errors = [each["error"] for each in events if each["type"] == "error"]
    if errors:
        (error,) = errors
        assert len(events) == 1, "refused as a whole"
        assert error["code"] in CODES, error
        assert error["message"]
        assert error["event_id"] == (given_id[:512] or None if isinstance(given_id, str) else None)
        if error["code"] in OF_STATE:
            assert error["param"] is None
        elif changed is not None and (error["code"], error["param"]) != known:
            assert names(error["param"], changed), (error, changed)
        after = engine.session, [item.id for item in engine.conversation], len(engine.responses)
        assert after == before, "a refused event changes nothing"
        assert engine.session is before[0]
    for response in engine.responses:
        assert "response.done" in types(talk.client("response.cancel", response_id=response.id))


def as_sent(talk: Talk, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Send an event; return what came of it."""
    return talk.client(event.get("type", ""), **{name: value for name, value in event.items() if name != "type"})


def names(param: Any, changed: Path) -> bool:
    """Say whether a ``param`` is about the place that was changed: it, what it is in, or what it now lacks."""
    where = dotted(changed)
    return isinstance(param, str) and param != "" and (where.startswith(param) or param.startswith(where))


def dotted(path: Path) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")


def is_alive(talk: Talk, door: str = "call") -> None:
    if door == "transcription":
        assert types(talk.client("session.update", session={"type": "transcription", "include": None}))[0] == (
            "session.updated"
        )
        return
    assert types(talk.client("session.update", session={"type": "realtime", "instructions": "x"}))[0] == (
        "session.updated"
    )
    talk.client("response.create", response={"conversation": "none", "output_modalities": ["text"], "input": []})
    events = talk.happens(happened.GenerationFinished(talk.generate().run))
    assert one(events, "response.done")["response"]["status"] in {"completed", "failed"}


DOORS = {"call": busy_talk, "socket": busy_socket, "transcription": busy_transcription}


def without(event: dict[str, Any], path: Path) -> Any:
    """Return a copy of an event, and the object in it that holds a place."""
    changed = json.loads(json.dumps(event))
    here = changed
    for key in path[:-1]:
        here = here[key]
    return changed, here


@pytest.mark.parametrize("event", samples("client"), ids=lambda event: str(event["type"]))
@pytest.mark.parametrize("door", DOORS)
def test_every_field_made_odd(door: str, event: dict[str, Any]) -> None:
    talk = DOORS[door]()
    refused = [each["error"] for each in as_sent(talk, event) if each["type"] == "error"]
    known = (refused[0]["code"], refused[0]["param"]) if refused else None
    talk = DOORS[door]()
    for path in places(event):
        for odd in (*ODD, ...):
            changed, here = without(event, path)
            if odd is ...:
                del here[path[-1]]
            else:
                here[path[-1]] = odd
            send(talk, changed, path, known)
    is_alive(talk, door)


@pytest.mark.parametrize("event", samples("client"), ids=lambda event: str(event["type"]))
def test_a_member_that_does_not_exist_is_named(event: dict[str, Any]) -> None:
    talk = busy_talk()
    objects = [(), *(path for path in places(event) if not FREE.intersection(path))]
    for path in objects:
        changed, _ = without(event, (*path, "zzz"))
        here = changed
        for key in path:
            here = here[key]
        if not isinstance(here, dict) or "zzz" in here:
            continue
        here["zzz"] = 1
        error = one(talk.client(changed.pop("type"), **changed), "error")["error"]
        if event.get("session", {}).get("type") == "transcription":
            continue  # on a call, this is wrong from its type on
        assert (error["code"], error["param"]) == ("unknown_parameter", dotted((*path, "zzz")))
        assert error["event_id"] == event.get("event_id")


@given(st.data(), st.lists(st.sampled_from(samples("client")), min_size=1, max_size=6))
@settings(max_examples=60)
def test_several_changed_events_in_a_row(data: st.DataObject, events: list[dict[str, Any]]) -> None:
    talk = busy_talk()
    for event in events:
        changed = mutate(data, event)
        if isinstance(changed, dict):
            send(talk, changed)
    is_alive(talk)
