"""Stored prompts: which version, what variables, and what of them a session takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from tests.core.talk import SocketTalk, Talk, one
from tests.matrix import SEEN, obeys

from offhook.errors import ApiProblem, ConfigError
from offhook.host.preparing import Preparing
from offhook.host.prompt import Prompts
from offhook.wire.client_events import ResponseCreate, SessionUpdate
from offhook.wire.decode import decode_client_event, decode_session
from offhook.wire.session import SessionParams

GREETING = {
    "instructions": "You answer for {{ shop }} in {{city}}.",
    "audio": {"output": {"voice": "cedar", "speed": 1.2}},
    "tools": [{"type": "function", "name": "hours"}],
    "tool_choice": "required",
    "model": "gpt-realtime-2",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pmpt_shop"
    place.mkdir()
    (place / "1.md").write_text("Old words.")
    (place / "2.json").write_text(json.dumps(GREETING))
    (place / "10.md").write_text("The newest words, for {{name}}.")
    return tmp_path


def accepted(folder: Path, prompt: dict[str, Any], **members: Any) -> SessionParams:
    params = decode_session(json.dumps({"type": "realtime", "prompt": prompt, **members}).encode())
    return Preparing({"p": Prompts(folder)}).session(params, "p")


def test_a_version_gives_what_the_session_does_not(folder: Path) -> None:
    prompt = {"id": "pmpt_shop", "version": "2", "variables": {"shop": "Bo's", "city": "{{shop}}"}}
    given = accepted(folder, prompt, audio={"output": {"voice": "ash"}}, tool_choice="none")
    assert given.instructions == "You answer for Bo's in {{shop}}.", "what a variable holds is not read again"
    assert given.tool_choice == "none", "direct members win"
    assert given.audio
    assert given.audio.output
    assert (given.audio.output.voice, given.audio.output.speed) == ("ash", 1.2), "inside audio too"
    assert given.tools
    assert [tool.name for tool in given.tools] == ["hours"]  # type: ignore[union-attr]
    assert given.model == "gpt-realtime-2"
    assert given.prompt
    assert given.prompt.id == "pmpt_shop", "the session still says which prompt it has"


def test_the_newest_version_is_the_highest_number(folder: Path) -> None:
    text = {"name": {"type": "input_text", "text": "Ada"}}
    assert accepted(folder, {"id": "pmpt_shop", "variables": text}).instructions == "The newest words, for Ada."


@pytest.mark.parametrize(
    ("prompt", "code", "param"),
    [
        ({"id": "other"}, "prompt_not_found", "session.prompt.id"),
        ({"id": "../pmpt_shop"}, "prompt_not_found", "session.prompt.id"),
        ({"id": "pmpt_shop", "version": "9"}, "prompt_not_found", "session.prompt.version"),
        ({"id": "pmpt_shop"}, "missing_required_parameter", "session.prompt.variables.name"),
        (
            {"id": "pmpt_shop", "variables": {"name": "x", "nmae": "y"}},
            "unknown_parameter",
            "session.prompt.variables.nmae",
        ),
        (
            {"id": "pmpt_shop", "variables": {"name": {"type": "input_image", "image_url": "data:,"}}},
            "invalid_value",
            "session.prompt.variables.name",
        ),
    ],
)
def test_what_cannot_be_filled_in_is_refused_by_name(
    folder: Path, prompt: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(ApiProblem) as caught:
        accepted(folder, prompt)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)


def test_a_server_without_prompts_says_how_to_have_some() -> None:
    params = decode_session(b'{"type":"realtime","prompt":{"id":"x"}}')
    with pytest.raises(ApiProblem, match="--prompts"):
        Preparing().session(params, "p")


# Both doors prepare the events of clients by the same object.
PROMPT_FIELDS = ("prompt.id", "prompt.version", "prompt.variables")
DOORS = pytest.mark.parametrize("door", ["call", "socket"])


@DOORS
@obeys("session.update", *(f"session(realtime).{name}" for name in PROMPT_FIELDS))
def test_an_update_takes_the_prompt_but_not_another_model(folder: Path, door: str) -> None:
    preparing = Preparing({"p": Prompts(folder)})
    prompt = {"id": "pmpt_shop", "version": "2", "variables": {"shop": "a", "city": "b"}}
    update = {"type": "session.update", "session": {"type": "realtime", "prompt": prompt}}
    SEEN.client_event(door, update)
    event = preparing.event(decode_client_event(json.dumps(update)), "p")
    assert isinstance(event, SessionUpdate)
    assert event.session.instructions == "You answer for a in b."
    assert not event.session.model


@DOORS
@obeys("response.create", *(f"response.{name}" for name in PROMPT_FIELDS))
def test_one_response_has_a_prompt_of_its_own(folder: Path, door: str) -> None:
    preparing = Preparing({"p": Prompts(folder)})
    prompt = {"id": "pmpt_shop", "version": "2", "variables": {"shop": "a", "city": "b"}}
    create = {"type": "response.create", "response": {"prompt": prompt, "tool_choice": "auto"}}
    SEEN.client_event(door, create)
    event = preparing.event(decode_client_event(json.dumps(create)), "p")
    assert isinstance(event, ResponseCreate)
    assert event.response
    assert event.response.instructions == "You answer for a in b."
    assert event.response.tool_choice == "auto"
    assert event.response.audio
    assert event.response.audio.output
    assert event.response.audio.output.voice == "cedar"
    create["response"] = {"prompt": {"id": "gone"}}
    with pytest.raises(ApiProblem) as caught:
        preparing.event(decode_client_event(json.dumps(create)), "p")
    assert caught.value.param == "response.prompt.id"


@DOORS
@obeys("response.create", "response.prompt(null)")
def test_a_response_without_a_prompt_is_as_the_session_says(folder: Path, door: str) -> None:
    preparing = Preparing({"p": Prompts(folder)})
    written = []
    for prompt in ({"id": "pmpt_shop", "version": "1"}, None):
        create = {"type": "response.create", "response": {"prompt": prompt}}
        SEEN.client_event(door, create)
        event = preparing.event(decode_client_event(json.dumps(create)), "p")
        assert isinstance(event, ResponseCreate)
        assert event.response
        written.append(event.response.instructions)
    assert written == ["Old words.", UNSET]


@pytest.mark.parametrize("kind", [Talk, SocketTalk])
@obeys("session.update", "session(realtime).prompt(null)")
def test_an_update_takes_the_prompt_away_and_leaves_what_it_said(kind: type[Talk]) -> None:
    talk = kind(prompt={"id": "pmpt_shop"}, instructions="Old words.")
    for given, shown in (({}, "pmpt_shop"), ({"prompt": None}, None)):
        told = one(talk.client("session.update", session={"type": "realtime", **given}), "session.updated")["session"]
        assert (told["prompt"] or {}).get("id") == shown
        assert told["instructions"] == "Old words."


def test_a_version_that_is_added_is_the_newest_and_outlives_the_server(folder: Path) -> None:
    prompts = Prompts(folder)
    assert prompts.add("pmpt_shop", b'{"instructions":"Newer."}').version == "11"
    assert prompts.add("pmpt_new", b'{"instructions":"First."}').version == "1"
    again = Prompts(folder)
    assert [each.version for each in again.versions("pmpt_shop")] == ["11", "10", "2", "1"]
    assert again.all()[0].shown()["instructions"] == "First."


def test_a_stored_prompt_shows_no_credentials_of_its_mcp_servers(folder: Path) -> None:
    server = {"type": "mcp", "server_label": "shop", "server_url": "https://mcp.example/"}
    secret = {"authorization": "sk-mcp-0123", "headers": {"X-Key": "c2VjcmV0"}}
    prompts = Prompts(folder)
    added = prompts.add("pmpt_tools", json.dumps({"tools": [server | secret]}).encode())
    for template in (added, *prompts.versions("pmpt_tools")):
        shown = json.dumps(template.shown())
        assert "X-Key" in shown
        assert "sk-mcp-0123" not in shown
        assert "c2VjcmV0" not in shown
    (tool,) = accepted(folder, {"id": "pmpt_tools"}).tools  # type: ignore[misc]
    assert tool.authorization == "sk-mcp-0123", "a session has what was stored"  # type: ignore[union-attr]
    assert "tools" not in prompts.all()[0].shown()


@pytest.mark.parametrize(
    ("prompt_id", "body", "param"),
    [
        ("..", b'{"instructions":"x"}', "id"),
        ("a/b", b'{"instructions":"x"}', "id"),
        ("a", b'{"instruction":"x"}', "instruction"),
        ("a", b'{"prompt":{"id":"a"}}', "prompt"),
        ("a", b'{"tools":[{"type":"function"}]}', "tools[0].name"),
        ("a", b"[]", None),
        ("a", b"{", None),
    ],
)
def test_a_version_that_is_none_is_refused(folder: Path, prompt_id: str, body: bytes, param: str | None) -> None:
    prompts = Prompts(folder)
    with pytest.raises(ApiProblem) as caught:
        prompts.add(prompt_id, body)
    assert caught.value.param == param
    assert [each.id for each in Prompts(folder).all()] == ["pmpt_shop"]


@pytest.mark.parametrize("name", ["newest.md", "0.md", "2.md", "3.json"])
def test_a_file_that_is_no_version_refuses_to_start(folder: Path, name: str) -> None:
    (folder / "pmpt_shop" / name).write_text("[]")
    with pytest.raises(ConfigError, match="--prompts"):
        Prompts(folder)
