"""Whatever happens to tools in whatever order: every beginning has one end, and the model reads what it can read."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.talk import Judged, Talk

from offhook.model.openai_http import chat_messages
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.wire.items import McpListedTool, McpToolExecutionError

SERVER = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example/mcp"}
OPEN = SERVER | {"server_label": "open", "require_approval": "never"}
TOOLS = (McpListedTool(name="a", input_schema={}), McpListedTool(name="b", input_schema={}))
NAMES = ["crm__a", "crm__b", "open__a", "f"]

runs = st.integers(1, 5)
numbers = st.integers(0, 5)
actions = st.one_of(
    st.tuples(st.just("update"), st.sampled_from([[SERVER], [OPEN], [SERVER, OPEN], []])),
    st.tuples(st.just("listed"), numbers, st.booleans()),
    st.tuples(st.just("create"), st.sampled_from([{}, {"conversation": "none"}, {"tools": [OPEN]}, {"input": []}])),
    st.tuples(st.just("cancel")),
    st.builds(happened.TextProduced, runs, st.just("word ")),
    st.builds(happened.ToolCallStarted, runs, st.integers(0, 2), st.sampled_from(NAMES)),
    st.builds(happened.ToolArgumentsProduced, runs, st.integers(0, 2), st.just("{}")),
    st.builds(happened.WordsFinished, runs),
    st.builds(happened.GenerationFinished, runs, st.sampled_from(["stop", "max_output_tokens"])),
    st.builds(happened.GenerationFailed, runs, st.just("c"), st.just("m")),
    st.tuples(st.just("called"), numbers, st.booleans()),
    st.tuples(st.just("approve"), numbers, st.booleans()),
    st.tuples(st.just("output"), numbers),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("write")),
    st.tuples(st.just("voice")),
)


def nth(found: list[Any], number: int) -> Any:
    return found[number % len(found)] if found else None


def items(talk: Talk, kind: str) -> list[dict[str, Any]]:
    return [event["item"] for event in talk.sent if event.get("item", {}).get("type") == kind]


def perform(talk: Talk, action: Any) -> None:
    match action:
        case ("update", tools):
            talk.client("session.update", session={"type": "realtime", "tools": tools})
        case ("listed", number, works):
            asked = nth([each for each in talk.done if isinstance(each, do.ListMcpTools)], number)
            item_id = asked.item_id if asked else "mcpl_x"
            ended = happened.McpToolsListed(item_id, TOOLS) if works else happened.McpListFailed(item_id, "m")
            talk.happens(ended)
        case ("create", members):
            talk.client("response.create", response=members)
        case ("cancel",):
            talk.client("response.cancel")
        case ("called", number, works):
            called = nth([each for each in talk.done if isinstance(each, do.CallMcpTool)], number)
            item_id = called.item_id if called else "mcp_x"
            error = None if works else McpToolExecutionError(message="no")
            talk.happens(happened.McpCallFinished(item_id, "yes", error))
        case ("approve", number, approve):
            request = nth(items(talk, "mcp_approval_request"), number) or {"id": "mcpr_x"}
            answer = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": approve}
            talk.client("conversation.item.create", item=answer)
        case ("output", number):
            call = nth(items(talk, "function_call"), number) or {"call_id": "call_x"}
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "done"}
            talk.client("conversation.item.create", item=output)
        case ("delete", number):
            item_id = nth([str(item.id) for item in talk.engine.conversation], number) or "item_x"
            talk.client("conversation.item.delete", item_id=item_id)
        case ("write",):
            content = [{"type": "input_text", "text": "word" * 60}]
            talk.client("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        case ("voice",):
            talk.says(100)
        case event:
            talk.happens(event)


def assert_context_is_valid(request: do.Generate) -> None:
    """A chat template wants every output right behind its call, and every id once."""
    assert not (ids := Counter(item.id for item in request.items)) or max(ids.values()) == 1
    called: list[str] = []
    before: dict[str, Any] = {}
    for message in chat_messages(request.instructions, request.items):
        if message["role"] == "tool":
            assert before["tool_calls"][0]["id"] == message["tool_call_id"]
            called.append(message["tool_call_id"])
        else:
            assert not before.get("tool_calls"), "a call without its output"
        before = message
    assert not before.get("tool_calls")
    assert all(tool.name for tool in request.tools if hasattr(tool, "name"))
    assert not any(type(tool).__name__ == "McpTool" for tool in request.tools), "the model knows functions only"


@given(st.lists(actions, max_size=50))
@settings(max_examples=60)
def test_any_order_of_tool_events_keeps_the_promises(script: list[Any]) -> None:
    options = EngineOptions(needs_transcripts=False, context_tokens=1_000, output_tokens=100)
    talk = Judged(options=options, tools=[{"type": "function", "name": "f"}, OPEN, SERVER], instructions="x")
    for action in script:
        perform(talk, action)
    talk.ends()

    added: Counter[str] = Counter()
    done: Counter[str] = Counter()
    out_added: Counter[str] = Counter()
    out_done: Counter[str] = Counter()
    deleted: set[str] = set()
    closed: set[str] = set()
    active: set[str] = set()
    started: set[str] = set()
    for event in talk.sent:
        kind, item = event["type"], event.get("item", {})
        if kind == "conversation.item.added":
            added[item["id"]] += 1
        elif kind == "conversation.item.done":
            assert added[item["id"]] == 1, "done after added"
            assert item["id"] not in deleted
            done[item["id"]] += 1
        elif kind == "conversation.item.deleted":
            deleted.add(event["item_id"])
        elif kind == "response.output_item.added":
            assert event["response_id"] not in closed
            out_added[item["id"]] += 1
        elif kind == "response.output_item.done":
            # What came of an MCP call is told after its response; all else belongs into it.
            assert event["response_id"] not in closed or item["type"] == "mcp_call"
            out_done[item["id"]] += 1
        elif kind == "response.created":
            active.add(event["response"]["id"])
        elif kind == "response.done":
            active.remove(event["response"]["id"])
            closed.add(event["response"]["id"])
        elif kind == "response.mcp_call.in_progress":
            assert event["item_id"] not in started
            started.add(event["item_id"])
    assert not active, "every response has an end"
    assert out_added == out_done, "every item of a response has one end"
    assert max(done.values(), default=1) == 1
    assert set(added) - set(done) <= deleted, "every item of the conversation has an end"
    assert max(Counter(event["event_id"] for event in talk.sent).values(), default=1) == 1
    for request in talk.done:
        if isinstance(request, do.Generate):
            assert_context_is_valid(request)
    commands = Counter(each.item_id for each in talk.done if isinstance(each, do.CallMcpTool))
    assert max(commands.values(), default=1) == 1, "no tool runs twice"
    assert set(commands) == started
