"""Whatever a remote party sends, the answer is a structure or a problem that names a member; nothing else comes out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.test_wire import FULL_ACCEPT
from tests.oracle import samples

from offhook.errors import ApiProblem
from offhook.wire.client_events import ClientEvent
from offhook.wire.decode import decode_client_event, decode_session
from offhook.wire.problem import find_problem
from offhook.wire.session import SessionParams

NUMBERS = (
    st.integers(-5, 5000)
    | st.integers(-5, 5000).map(float)
    | st.sampled_from([24000.0, 2**64, -(10**30), 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, member in value.items():
            found += places(member, (*path, name))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            found += places(member, (*path, index))
    return found


def mutate(data: st.DataObject, value: Any) -> Any:
    value = json.loads(json.dumps(value))
    here = value
    *parents, last = data.draw(st.sampled_from(places(value)))
    for key in parents:
        here = here[key]
    action = data.draw(st.sampled_from(["set", "delete", "add"]))
    if action == "set":
        here[last] = data.draw(JSON)
    elif action == "delete":
        del here[last]
    elif isinstance(here, dict):
        here[data.draw(st.text(max_size=8))] = data.draw(JSON)
    return value


@given(st.data())
@settings(max_examples=300)
def test_a_changed_session_is_taken_or_refused_by_name(data: st.DataObject) -> None:
    body = mutate(data, FULL_ACCEPT)
    text = json.dumps(body).encode()
    try:
        msgspec.json.decode(text, type=SessionParams)
    except msgspec.ValidationError:
        # The walker must find by itself what msgspec refused, or the answer would name nothing.
        assert find_problem(body, SessionParams, "session") is not None, body
    else:
        assert find_problem(body, SessionParams, "session") is None, body
    try:
        decode_session(text)
    except ApiProblem as problem:
        assert problem.param
        assert problem.param.startswith("session")
        assert problem.code


@given(st.data(), NUMBERS)
@settings(max_examples=300)
def test_a_number_in_any_place_is_taken_or_refused_by_name(data: st.DataObject, number: float) -> None:
    body = json.loads(json.dumps(FULL_ACCEPT))
    here = body
    *parents, last = data.draw(st.sampled_from(places(body)))
    for key in parents:
        here = here[key]
    here[last] = number
    try:
        decode_session(json.dumps(body).encode())
    except ApiProblem as problem:
        # It may be a problem elsewhere: a tag that is a number decides nothing about its members.
        where = "session" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in [*parents, last])
        assert problem.param is not None
        assert where.startswith(problem.param)
        assert problem.param != "session"


@given(st.data(), st.sampled_from(samples("client")))
@settings(max_examples=300)
def test_a_changed_client_event_is_taken_or_refused_by_name(data: st.DataObject, event: dict[str, Any]) -> None:
    body = mutate(data, event)
    text = json.dumps(body)
    try:
        msgspec.json.decode(text, type=ClientEvent)
    except msgspec.ValidationError:
        assert find_problem(body, ClientEvent, "") is not None, body
    try:
        decode_client_event(text)
    except ApiProblem as problem:
        assert problem.code in {
            "invalid_value",
            "invalid_type",
            "invalid_json",
            "unknown_parameter",
            "missing_required_parameter",
        }


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_survived(data: bytes | str) -> None:
    try:
        decode_client_event(data)
    except ApiProblem as problem:
        assert problem.message
