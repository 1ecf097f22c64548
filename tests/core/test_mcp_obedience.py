"""What a client says of the tools of an MCP server, of the session and of one response: each is seen to change them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tests.core.talk import Talk, types
from tests.core.test_obedience import DOORS, MCP, OPTIONS, TOOLS, plain
from tests.matrix import obeys

from offhook.session import inputs as happened
from offhook.session import outputs as do

JSON = dict[str, Any]
SHOP: JSON = {"type": "mcp", "server_label": "shop", "server_url": "https://shop.example/mcp"}
READS: JSON = {"never": {"read_only": True}}
EVENTS = {"session.update": "session(realtime).", "response.create": "response."}


class Choice(NamedTuple):
    """A member of an MCP tool, what was in its place before, what is given now, and what is to be seen of it."""

    path: str
    before: JSON
    given: JSON
    look: Callable[[Talk], Any]
    want: Any


def shown(talk: Talk) -> list[str]:
    """The functions of the first server that the model has."""
    return [tool.name for tool in talk.generate().tools if tool.name.startswith("crm__")]


def described(talk: Talk) -> list[bool]:
    """Of which functions the model reads what their server is for."""
    return [tool.description == "Knows customers." for tool in talk.generate().tools]


def runs(talk: Talk) -> bool:
    """Whether a tool that only reads runs without an approval."""
    run, before = talk.generate().run, talk.count(do.CallMcpTool)
    talk.happens(happened.ToolCallStarted(run, 0, "crm__look"))
    talk.happens(happened.GenerationFinished(run))
    return talk.count(do.CallMcpTool) > before


BOTH = ["crm__look", "crm__erase"]
CHOICES = (
    Choice("allowed_tools[]", {}, {"allowed_tools": ["look"]}, shown, ["crm__look"]),
    Choice("allowed_tools.tool_names[]", {}, {"allowed_tools": {"tool_names": ["erase"]}}, shown, ["crm__erase"]),
    Choice("allowed_tools.read_only", {}, {"allowed_tools": {"read_only": False}}, shown, ["crm__erase"]),
    Choice("allowed_tools(null)", {"allowed_tools": ["look"]}, {"allowed_tools": None}, shown, BOTH),
    Choice("allowed_callers[]", {}, {"allowed_callers": ["programmatic"]}, shown, []),
    Choice("allowed_callers(null)", {"allowed_callers": ["programmatic"]}, {"allowed_callers": None}, shown, BOTH),
    Choice("server_description", {}, {"server_description": "Knows customers."}, described, [True, True, False, False]),
    Choice("require_approval", {}, {"require_approval": "never"}, runs, True),
    Choice("require_approval(null)", {"require_approval": "never"}, {"require_approval": None}, runs, False),
    *(
        Choice(f"require_approval.{when}.{name}", {"require_approval": before}, {"require_approval": rule}, runs, want)
        for when, name, before, rule, want in (
            ("always", "tool_names[]", READS, READS | {"always": {"tool_names": ["look"]}}, False),
            ("always", "read_only", READS, READS | {"always": {"read_only": True}}, False),
            ("never", "tool_names[]", "always", {"never": {"tool_names": ["look"]}}, True),
            ("never", "read_only", "always", READS, True),
        )
    ),
)


def begun(door: str, members: JSON) -> Talk:
    """A session with two servers that have told their tools."""
    talk = DOORS[door](options=OPTIONS)
    talk.client("session.update", session={"type": "realtime", "tools": [MCP | members, SHOP]})
    for wanted in [each for each in talk.done if isinstance(each, do.ListMcpTools)]:
        talk.happens(happened.McpToolsListed(wanted.item_id, TOOLS))
    return talk


def sees(talk: Talk, look: Callable[[Talk], Any], response: JSON) -> Any:
    """What is to be seen of one response, which has ended then."""
    assert "response.created" in types(talk.client("response.create", response=response))
    found = look(talk)
    talk.happens(happened.GenerationFinished(talk.generate().run))
    return found


@pytest.mark.parametrize(
    ("door", "event", "each"),
    [
        pytest.param(
            door,
            event,
            each,
            id=f"{door}-{event}-{each.path}",
            marks=obeys(event, f"{prefix}tools[](mcp).{each.path}"),
        )
        for door in ("call", "socket")
        for event, prefix in EVENTS.items()
        for each in CHOICES
    ],
)
def test_what_is_said_of_the_tools_of_a_server_is_obeyed_from_then_on(door: str, event: str, each: Choice) -> None:
    talk = begun(door, each.before)
    before = sees(talk, each.look, {})
    assert before != each.want, "it makes the difference"
    tools = [MCP | each.given, SHOP]
    if event == "session.update":
        (told,) = talk.client(event, session={"type": "realtime", "tools": tools})
        assert told["session"]["tools"] == tools
        assert sees(talk, each.look, {}) == each.want
    else:
        assert sees(talk, each.look, {"tools": tools}) == each.want
        assert sees(talk, each.look, {}) == before, "it was for one response"
    assert talk.count(do.ListMcpTools) == 2, "the servers are the same"


@pytest.mark.parametrize(
    ("door", "event"),
    [
        pytest.param(
            door,
            event,
            marks=obeys(event, *(f"{prefix}tool_choice(mcp){rest}" for rest in ("", ".server_label", ".name"))),
        )
        for door in ("call", "socket")
        for event, prefix in EVENTS.items()
    ],
)
def test_a_tool_of_one_server_is_demanded(door: str, event: str) -> None:
    talk = begun(door, {})

    def seen(talk: Talk) -> Any:
        return [tool.name for tool in talk.generate().tools], plain(talk.generate().tool_choice)

    everything = [*BOTH, "shop__look", "shop__erase"]
    assert sees(talk, seen, {}) == (everything, "auto")
    for choice, want in (
        ({"server_label": "crm"}, (BOTH, "required")),
        ({"server_label": "shop"}, (["shop__look", "shop__erase"], "required")),
        ({"server_label": "shop", "name": "erase"}, (everything, {"type": "function", "name": "shop__erase"})),
    ):
        given = {"tool_choice": {"type": "mcp", **choice}}
        if event == "session.update":
            told = talk.client(event, session={"type": "realtime", **given})
            assert told[0]["session"]["tool_choice"] == given["tool_choice"]
            given = {}
        assert sees(talk, seen, given) == want
