"""Tools of MCP servers in a conversation: discovery, calls, approvals, and what the model reads of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.core.talk import Talk, one, types

from offhook.model.openai_http import chat_messages
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.mcp import is_allowed, needs_approval
from offhook.session.tools import MAX_SERVERS
from offhook.wire.items import McpHttpError, McpListedTool, McpToolExecutionError
from offhook.wire.session import FunctionTool, McpApprovalFilter, McpTool, McpToolFilter

CRM: dict[str, Any] = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example/mcp"}
OPEN = CRM | {"require_approval": "never"}
LOOKUP = McpListedTool(name="lookup", input_schema={"type": "object"}, description="Find a customer.")
ERASE = McpListedTool(name="erase", input_schema={"type": "object"}, annotations={"readOnlyHint": False})
READ = McpListedTool(name="read", input_schema={"type": "object"}, annotations={"readOnlyHint": True})


def with_tools(tool: dict[str, Any] = OPEN, *listed: McpListedTool, **session: Any) -> Talk:
    """A session whose MCP server has said what it has."""
    talk = Talk(tools=[tool], **session)
    talk.happens(happened.McpToolsListed(talk.last(do.ListMcpTools).item_id, listed or (LOOKUP,)))
    return talk


def calls(talk: Talk, name: str = "crm__lookup", arguments: str = '{"phone":"1"}') -> list[dict[str, Any]]:
    """The model calls a tool, and is done."""
    talk.client("response.create")
    run = talk.generate().run
    events = talk.happens(happened.ToolCallStarted(run, 0, name))
    events += talk.happens(happened.ToolArgumentsProduced(run, 0, arguments))
    return events + talk.happens(happened.GenerationFinished(run))


def finishes(talk: Talk, **result: Any) -> list[dict[str, Any]]:
    return talk.happens(happened.McpCallFinished(talk.last(do.CallMcpTool).item_id, **result))


# -- discovery


def test_a_server_is_asked_for_its_tools_when_the_session_names_it() -> None:
    talk = Talk()
    events = talk.client("session.update", session={"type": "realtime", "tools": [OPEN]})
    assert types(events) == ["session.updated", "conversation.item.added", "mcp_list_tools.in_progress"]
    item_id = events[2]["item_id"]
    retrieved = one(talk.client("conversation.item.retrieve", item_id=item_id), "conversation.item.retrieved")
    assert retrieved["item"]["tools"] == [], "it can be looked at while it is in progress"
    events = talk.happens(happened.McpToolsListed(item_id, (LOOKUP,)))
    assert types(events) == ["mcp_list_tools.completed", "conversation.item.done"]
    assert events[1]["item"]["tools"][0]["name"] == "lookup"
    assert types(talk.client("session.update", session={"type": "realtime", "tools": [OPEN]})) == ["session.updated"]


def test_a_session_that_begins_with_a_server_asks_it_at_once() -> None:
    talk = Talk(tools=[OPEN])
    assert talk.last(do.ListMcpTools).server.server_url == "https://crm.example/mcp"


def test_a_server_that_failed_is_asked_again_when_it_is_named_again() -> None:
    talk = Talk(tools=[OPEN])
    events = talk.happens(happened.McpListFailed(talk.last(do.ListMcpTools).item_id, "refused"))
    assert types(events) == ["mcp_list_tools.failed", "conversation.item.done"]
    talk.client("session.update", session={"type": "realtime", "instructions": "x"})
    calls(talk)
    assert talk.count(do.ListMcpTools) == 1
    talk.client("session.update", session={"type": "realtime", "tools": [OPEN]})
    assert talk.count(do.ListMcpTools) == 2


def test_a_server_that_is_reached_in_another_way_is_another_server() -> None:
    talk = with_tools()
    tools = [OPEN | {"authorization": "other"}]
    events = talk.client("session.update", session={"type": "realtime", "tools": tools})
    assert "mcp_list_tools.in_progress" in types(events)
    talk.client("response.create")
    assert talk.generate().tools == (), "its old tools are not its own"


def test_a_server_of_one_response_does_not_take_the_place_of_the_sessions() -> None:
    talk = with_tools()
    other = OPEN | {"server_url": "https://other.example/mcp"}
    events = talk.client("response.create", response={"tools": [other]})
    assert "mcp_list_tools.in_progress" in types(events)
    assert talk.generate().tools == (), "the tools of the session's are not its own"
    talk.happens(happened.McpToolsListed(talk.last(do.ListMcpTools).item_id, (ERASE,)))
    talk.happens(happened.GenerationFinished(talk.generate().run))
    calls(talk)
    asked = talk.last(do.CallMcpTool)
    assert (asked.server.server_url, asked.name) == ("https://crm.example/mcp", "lookup")
    finishes(talk, output="{}")
    talk.client("response.create", response={"tools": [other]})
    assert [tool.name for tool in talk.generate().tools if isinstance(tool, FunctionTool)] == ["crm__erase"]
    assert talk.count(do.ListMcpTools) == 2, "each was asked once"


def test_the_servers_of_responses_count_and_end_with_the_session() -> None:
    talk = Talk()
    tools = [OPEN | {"server_label": f"s{number}"} for number in range(MAX_SERVERS + 1)]
    events = talk.client("response.create", response={"tools": tools})
    assert types(events).count("mcp_list_tools.failed") == 1
    events = talk._take(talk.engine.close(talk.now))
    assert types(events).count("mcp_list_tools.failed") == MAX_SERVERS


def test_a_session_has_a_limited_number_of_servers() -> None:
    tools = [OPEN | {"server_label": f"s{number}"} for number in range(MAX_SERVERS + 1)]
    events = Talk().client("session.update", session={"type": "realtime", "tools": tools})
    assert types(events).count("mcp_list_tools.failed") == 1


# -- what the model is shown


def test_the_model_knows_tools_as_functions() -> None:
    talk = with_tools(OPEN | {"allowed_tools": ["lookup", "read"]}, LOOKUP, ERASE, READ)
    talk.client("response.create")
    shown = talk.generate().tools
    assert [tool.name for tool in shown if isinstance(tool, FunctionTool)] == ["crm__lookup", "crm__read"]
    assert len(shown) == 2
    listed = one(talk.sent, "conversation.item.done")["item"]["tools"]
    assert [tool["name"] for tool in listed] == ["lookup", "read"]


def test_tools_count_from_when_they_are_known() -> None:
    talk = Talk(tools=[OPEN])
    talk.client("response.create")
    assert talk.generate().tools == ()


@pytest.mark.parametrize(
    ("choice", "shown", "chosen"),
    [
        ({"type": "mcp", "server_label": "crm"}, ["crm__lookup"], "required"),
        ({"type": "mcp", "server_label": "crm", "name": "lookup"}, ["f", "crm__lookup"], "crm__lookup"),
        ({"type": "mcp", "server_label": "crm", "name": "gone"}, ["f", "crm__lookup"], "auto"),
        ({"type": "mcp", "server_label": "other"}, ["f", "crm__lookup"], "auto"),
    ],
)
def test_a_tool_of_a_server_can_be_demanded(choice: dict[str, Any], shown: list[str], chosen: str) -> None:
    talk = Talk(tools=[{"type": "function", "name": "f"}, OPEN], tool_choice=choice)
    talk.happens(happened.McpToolsListed(talk.last(do.ListMcpTools).item_id, (LOOKUP,)))
    talk.client("response.create")
    request = talk.generate()
    assert [tool.name for tool in request.tools if isinstance(tool, FunctionTool)] == shown
    assert getattr(request.tool_choice, "name", request.tool_choice) == chosen


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["lookup", "erase", "read"]),
        (("erase",), ["erase"]),
        ((), []),
        (McpToolFilter(read_only=True), ["read"]),
        (McpToolFilter(read_only=False), ["lookup", "erase"]),
        (McpToolFilter(tool_names=("read", "erase"), read_only=True), ["read"]),
    ],
)
def test_allowed_tools(wanted: Any, names: list[str]) -> None:
    server = McpTool(server_label="s", server_url="u", allowed_tools=wanted)
    assert [tool.name for tool in (LOOKUP, ERASE, READ) if is_allowed(server, tool)] == names


@pytest.mark.parametrize(
    ("rule", "asked_about"),
    [
        (None, ["lookup", "erase", "read"]),
        ("always", ["lookup", "erase", "read"]),
        ("never", []),
        (McpApprovalFilter(never=McpToolFilter(read_only=True)), ["lookup", "erase"]),
        (McpApprovalFilter(never=McpToolFilter()), ["lookup", "erase", "read"]),
        (McpApprovalFilter(always=McpToolFilter(tool_names=("erase",))), ["lookup", "erase", "read"]),
        (
            McpApprovalFilter(
                always=McpToolFilter(tool_names=("erase",)), never=McpToolFilter(tool_names=("lookup", "erase"))
            ),
            ["erase", "read"],
        ),
    ],
)
def test_require_approval(rule: Any, asked_about: list[str]) -> None:
    server = McpTool(server_label="s", server_url="u", require_approval=rule)
    assert [tool.name for tool in (LOOKUP, ERASE, READ) if needs_approval(server, tool)] == asked_about


# -- calls


def test_a_call_without_approval_has_the_contracted_order() -> None:
    talk = with_tools()
    assert types(calls(talk)) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.done",
        "rate_limits.updated",
        "response.mcp_call.in_progress",
    ]
    wanted = talk.last(do.CallMcpTool)
    assert (wanted.name, wanted.arguments, wanted.server.server_label) == ("lookup", '{"phone":"1"}', "crm")
    assert one(talk.client("conversation.item.retrieve", item_id=wanted.item_id), "conversation.item.retrieved")
    events = finishes(talk, output="Ada")
    assert types(events) == [
        "response.mcp_call.completed",
        "conversation.item.done",
        "response.output_item.done",
    ]
    assert events[1]["item"]["output"] == "Ada"
    assert talk.count(do.Generate) == 1, "the client asks for the next response"
    talk.client("response.create")
    messages = chat_messages("", talk.generate().items)
    assert [message["role"] for message in messages] == ["assistant", "tool"]
    assert messages[0]["tool_calls"][0]["function"] == {"name": "crm__lookup", "arguments": '{"phone":"1"}'}
    assert messages[1]["content"] == "Ada"


def test_a_result_that_comes_while_the_model_still_speaks_waits_for_the_end() -> None:
    """An eager client asks for the next response as soon as it sees the result."""
    talk = with_tools()
    talk.client("response.create")
    run = talk.generate().run
    talk.happens(happened.ToolCallStarted(run, 0, "crm__lookup"))
    talk.happens(happened.WordsFinished(run))
    assert talk.count(do.CallMcpTool) == 1
    assert finishes(talk, output="Ada") == []
    events = talk.happens(happened.GenerationFinished(run))
    assert types(events) == [
        "response.done",
        "rate_limits.updated",
        "response.mcp_call.completed",
        "conversation.item.done",
        "response.output_item.done",
    ]
    assert types(talk.client("response.create"))[0] == "response.created"


@pytest.mark.parametrize(
    "error",
    [McpToolExecutionError(message="no such customer"), McpHttpError(code=503, message="busy")],
    ids=["tool", "http"],
)
def test_a_call_that_fails_is_an_item_and_the_model_reads_why(error: Any) -> None:
    talk = with_tools()
    calls(talk)
    events = finishes(talk, error=error)
    assert types(events)[0] == "response.mcp_call.failed"
    assert events[1]["item"]["error"]["message"] == error.message
    assert events[1]["item"]["output"] is None
    talk.client("response.create")
    assert error.message in chat_messages("", talk.generate().items)[-1]["content"]


def test_an_interrupted_call_is_not_run() -> None:
    talk = with_tools()
    talk.client("response.create")
    run = talk.generate().run
    talk.happens(happened.ToolCallStarted(run, 0, "crm__lookup"))
    talk.happens(happened.ToolArgumentsProduced(run, 0, '{"pho'))
    events = talk.client("response.cancel")
    assert types(events) == [
        "response.mcp_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert events[1]["item"]["error"]["type"] == "tool_execution_error"
    assert talk.count(do.CallMcpTool) == 0


def test_an_out_of_band_call_leaves_the_conversation_alone() -> None:
    talk = with_tools()
    talk.client("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    run = talk.generate().run
    talk.happens(happened.ToolCallStarted(run, 0, "crm__lookup"))
    talk.happens(happened.GenerationFinished(run))
    assert types(finishes(talk, output="Ada")) == ["response.mcp_call.completed", "response.output_item.done"]


def test_a_deleted_call_is_not_announced_any_more() -> None:
    talk = with_tools()
    calls(talk)
    talk.client("conversation.item.delete", item_id=talk.last(do.CallMcpTool).item_id)
    assert "conversation.item.done" not in types(finishes(talk, output="Ada"))


def test_functions_and_tools_of_servers_in_one_response() -> None:
    talk = Talk(tools=[{"type": "function", "name": "f"}, OPEN])
    talk.happens(happened.McpToolsListed(talk.last(do.ListMcpTools).item_id, (LOOKUP,)))
    talk.client("response.create")
    run = talk.generate().run
    talk.happens(happened.ToolCallStarted(run, 0, "crm__lookup"))
    talk.happens(happened.ToolCallStarted(run, 1, "f"))
    response = one(talk.happens(happened.GenerationFinished(run)), "response.done")["response"]
    assert [item["type"] for item in response["output"]] == ["mcp_call", "function_call"]


# -- approvals


def test_a_call_that_needs_approval_waits_for_it() -> None:
    talk = with_tools(CRM)
    events = calls(talk)
    assert types(events) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.output_item.added",
        "conversation.item.added",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    call_id = one(events, "response.mcp_call_arguments.done")["item_id"]
    request = one(events, "conversation.item.done")["item"]
    assert (request["type"], request["arguments"]) == ("mcp_approval_request", '{"phone":"1"}')
    assert talk.count(do.CallMcpTool) == 0

    answer = {"type": "mcp_approval_response", "id": "mcprsp_1", "approval_request_id": request["id"], "approve": True}
    events = talk.client("conversation.item.create", item=answer)
    assert types(events) == ["conversation.item.added", "conversation.item.done", "response.mcp_call.in_progress"]
    assert events[2]["item_id"] == call_id
    events = finishes(talk, output="Ada")
    assert one(events, "conversation.item.done")["item"]["approval_request_id"] == request["id"]
    again = talk.client("conversation.item.create", item=answer | {"id": "mcprsp_2"})
    assert one(again, "error")["error"]["param"] == "item.approval_request_id"
    talk.client("response.create")
    roles = [message["role"] for message in chat_messages("", talk.generate().items)]
    assert roles == ["assistant", "tool"], "the model reads the call, not who allowed it"


def test_a_call_that_is_refused_says_so_to_the_model() -> None:
    talk = with_tools(CRM)
    request = one(calls(talk), "conversation.item.done")["item"]
    answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": False}
    events = talk.client("conversation.item.create", item=answer | {"reason": "not today"})
    assert types(events)[2:] == ["response.mcp_call.failed", "conversation.item.done", "response.output_item.done"]
    assert events[3]["item"]["error"]["message"] == "The call was not approved: not today"
    assert talk.count(do.CallMcpTool) == 0


def test_the_end_of_a_session_is_the_end_of_its_calls() -> None:
    talk = with_tools(CRM)
    calls(talk)
    talk.client("session.update", session={"type": "realtime", "tools": [OPEN | {"server_label": "slow"}]})
    events = talk._take(talk.engine.close(talk.now))
    assert types(events) == [
        "mcp_list_tools.failed",
        "conversation.item.done",
        "response.mcp_call.failed",
        "conversation.item.done",
        "response.output_item.done",
    ]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "mcp_list_tools", "server_label": "crm", "tools": []},
        {"type": "mcp_call", "id": "mcp_1", "server_label": "crm", "name": "f", "arguments": "{}", "output": "x"},
        {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "crm", "name": "f", "arguments": "{}"},
    ],
    ids=lambda item: str(item["type"]),
)
def test_what_the_server_makes_cannot_be_made_by_a_client(item: dict[str, Any]) -> None:
    error = one(Talk().client("conversation.item.create", item=json.loads(json.dumps(item))), "error")["error"]
    assert error["param"] == "item.type"
