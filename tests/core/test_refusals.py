"""What a client may not say, though the contract knows the words: refused by name, and nothing changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.core.talk import error
from tests.core.test_obedience import DOORS
from tests.matrix import SEEN, refuses

from offhook.errors import ApiProblem
from offhook.host.preparing import Preparing
from offhook.mcp.policy import McpOptions
from offhook.wire.decode import decode_client_event

JSON = dict[str, Any]
SPEECH: JSON = {"type": "output_audio", "audio": "AAAA", "transcript": "x"}
ITEMS: tuple[tuple[str, JSON, str, tuple[str, ...]], ...] = (
    *(
        (f"item({made['type']})", made, "item.type", ("call", "socket"))
        for made in (
            {"type": "mcp_list_tools", "server_label": "crm", "tools": []},
            {"type": "mcp_call", "id": "mcp_1", "server_label": "crm", "name": "f", "arguments": "{}", "output": "x"},
            {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "crm", "name": "f", "arguments": "{}"},
        )
    ),
    *(
        (
            f"item(assistant).content[].{name}",
            {"type": "message", "role": "assistant", "content": [SPEECH]},
            "item.content[0].type",
            ("call", "socket"),
        )
        for name in ("audio", "transcript")
    ),
    (
        "item(user).content[].audio",
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "AAAA"}]},
        "item.content[0].audio",
        ("call",),
    ),
)


@pytest.mark.parametrize(
    ("door", "item", "param"),
    [
        pytest.param(door, item, param, id=f"{door}-{path}", marks=refuses("conversation.item.create", path))
        for path, item, param, doors in ITEMS
        for door in doors
    ],
)
def test_an_item_that_no_client_may_add_is_refused(door: str, item: JSON, param: str) -> None:
    talk = DOORS[door]()
    before, done = list(talk.engine.conversation), len(talk.done)
    assert error(talk.client("conversation.item.create", item=item))["param"] == param
    assert list(talk.engine.conversation) == before
    assert len(talk.done) == done


MCP_TOOL: JSON = {"type": "mcp", "server_label": "crm", "server_url": "https://93.184.215.14/mcp"}
# What cannot be done, and the same tool without it.
SERVERS: dict[str, tuple[JSON, JSON]] = {
    "tunnel_id": ({"type": "mcp", "server_label": "crm", "tunnel_id": f"tunnel_{'a' * 32}"}, MCP_TOOL),
    "defer_loading": (MCP_TOOL | {"defer_loading": True}, MCP_TOOL | {"defer_loading": False}),
}
KINDS = {"session.update": ("session", "session(realtime)"), "response.create": ("response", "response")}


# Both doors prepare the events of clients by the same object.
@pytest.mark.parametrize("door", ["call", "socket"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=refuses(kind, f"{place}.tools[](mcp).{name}"))
        for kind, (_, place) in KINDS.items()
        for name in SERVERS
    ],
)
def test_a_server_of_tools_that_cannot_be_used_as_asked_is_refused_by_name(door: str, kind: str, name: str) -> None:
    pytest.importorskip("mcp", reason="without the client of the protocol every server is refused")
    member = KINDS[kind][0]
    refused, taken = SERVERS[name]
    for given in (refused, taken):
        event = {"type": kind, member: {"tools": [given], **({"type": "realtime"} if member == "session" else {})}}
        SEEN.client_event(door, event)
        read = decode_client_event(json.dumps(event))
        if given is taken:
            assert Preparing(mcp=McpOptions()).event(read, "p") == read, "it is nothing else that is refused"
            continue
        with pytest.raises(ApiProblem) as caught:
            Preparing(mcp=McpOptions()).event(read, "p")
        assert (caught.value.status, caught.value.code) == (400, "invalid_value")
        assert caught.value.param == f"{member}.tools[0].{name}"
