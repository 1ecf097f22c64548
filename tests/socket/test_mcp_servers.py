"""MCP servers over real sockets: those that do what they should, and those that hang, lie, lead inside or never end."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.socket.live import Live, Socket, live, until
from tests.socket.mcp_host import mcp_host
from tests.socket.model_server import Received, Reply, serve

from offhook.errors import ApiProblem
from offhook.mcp.connection import McpConnections, McpServerError
from offhook.mcp.guard import MAX_RESPONSE_BYTES, GuardedTransport, TooMuchError, guarded_client
from offhook.mcp.policy import McpOptions, check_tool, is_public
from offhook.session.inputs import McpError
from offhook.wire.session import McpTool

LOOPBACK = McpOptions(frozenset({"127.0.0.1"}), answer_s=20)


def at(url: str, **members: Any) -> McpTool:
    return McpTool(server_label="crm", server_url=url, **members)


def run(work: Callable[[McpConnections], Coroutine[Any, Any, None]], options: McpOptions = LOOPBACK) -> None:
    async def whole() -> None:
        connections = McpConnections(options)
        try:
            async with asyncio.timeout(120):
                await work(connections)
        finally:
            await connections.close()

    asyncio.run(whole())


async def failure(work: Coroutine[Any, Any, Any]) -> McpError:
    with pytest.raises(McpServerError) as caught:
        await work
    return caught.value.error


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_tools_are_listed_and_called(transport: str) -> None:
    async def test(connections: McpConnections) -> None:
        async with mcp_host(transport) as host:
            server = at(host.url, authorization="secret", headers={"X-Shop": "7"})
            tools = {tool.name: tool for tool in await connections.list_tools(server)}
            assert tools["lookup"].description == "Find a customer by the number."
            assert tools["lookup"].input_schema["required"] == ["phone"]
            assert tools["lookup"].annotations
            assert tools["lookup"].annotations["readOnlyHint"] is True
            assert await connections.call_tool(server, "lookup", '{"phone":"1"}') == "Ada calls from 1"
            assert all(each["authorization"] == "Bearer secret" for each in host.headers)
            assert all(each["x-shop"] == "7" for each in host.headers)
            await connections.close()

    run(test)


def test_calls_run_side_by_side_over_one_connection() -> None:
    async def test(connections: McpConnections) -> None:
        async with mcp_host() as host:
            server = at(host.url)
            calls = [connections.call_tool(server, "lookup", f'{{"phone":"{number}"}}') for number in range(5)]
            assert await asyncio.gather(*calls) == [f"Ada calls from {number}" for number in range(5)]
            await connections.close()

    run(test)


class Sessions:
    """A server of the protocol's older versions, which knows its clients by sessions and may forget them."""

    def __init__(self) -> None:
        self.begun = 0
        self.forgotten = 0
        self.asked = 0
        self.busy: asyncio.Event | None = None
        """What the next answer of a tool waits for."""

    def answer(self, received: Received) -> Reply:
        if not received.body:
            # The stream of the server's own messages, and the end of a session: there is no answer to either.
            return Reply([], hang=True)
        match received.json["method"]:
            case "initialize":
                self.begun += 1
                return self._result(
                    received,
                    protocolVersion="2025-06-18",
                    capabilities={"tools": {}},
                    serverInfo={"name": "crm", "version": "1"},
                )
            case "notifications/initialized":
                return Reply([b""], status=202)
            case "tools/call" if int(received.headers["mcp-session-id"]) > self.forgotten:
                self.asked += 1
                return self._result(received, content=[{"type": "text", "text": "nine to five"}])
            case "tools/list":
                return self._result(received, tools=[{"name": "hours", "inputSchema": {"type": "object"}}])
            case _:
                return Reply([b""], status=404)

    def _result(self, received: Received, **result: Any) -> Reply:
        busy, self.busy = self.busy, None
        body = json.dumps({"jsonrpc": "2.0", "id": received.json["id"], "result": result}).encode()
        return Reply([body], content_type=JSON, headers={"mcp-session-id": str(self.begun)}, after=busy)


def test_a_session_that_the_server_has_forgotten_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: after a restart of the server all calls of its label failed, to the end of the session."""
    monkeypatch.setattr("offhook.mcp.connection.FAREWELL_S", 0.2)

    async def test(connections: McpConnections) -> None:
        sessions = Sessions()
        async with serve(sessions.answer) as host:
            server = at(host.url)
            assert await connections.call_tool(server, "hours", "{}") == "nine to five"
            sessions.busy = done = asyncio.Event()
            waiting = asyncio.ensure_future(connections.call_tool(server, "hours", "{}"))
            await until(lambda: sessions.asked == 2)
            sessions.forgotten = 1
            error = await failure(connections.call_tool(server, "hours", "{}"))
            assert getattr(error, "code", None) == 404
            assert await connections.call_tool(server, "hours", "{}") == "nine to five"
            assert (sessions.begun, sessions.asked) == (2, 3), "what failed was not asked again"
            done.set()
            assert await waiting == "nine to five", "what was under way has its answer"
            await connections.close()

    run(test)


def test_a_stream_of_events_may_be_long_and_each_event_may_not() -> None:
    """Symptom: the stream of a talkative server ended after some megabytes, in the middle of a session."""
    event = b": a sign of life\r\n" + b"data: " + b"x" * 32768 + b"\r\n\r\n"
    many = MAX_RESPONSE_BYTES // len(event) + 2

    async def read(pieces: list[bytes]) -> int:
        reply = Reply(pieces, content_type="Text/Event-Stream; charset=utf-8")
        async with (
            asyncio.timeout(120),
            serve(answering(reply)) as host,
            guarded_client(GuardedTransport(LOOPBACK), {}, 20) as client,
            client.stream("GET", host.url) as response,
        ):
            return sum([len(chunk) async for chunk in response.aiter_bytes()])

    assert asyncio.run(read([event] * many)) == len(event) * many
    assert asyncio.run(read([event[:-1], event[-1:]] * many)) == len(event) * many
    with pytest.raises(TooMuchError, match="one event"):
        asyncio.run(read([event.strip() + b"\r\n"] * many))


def test_a_server_that_does_not_take_leave_is_left_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: each server that a session had dropped kept a connection and a task until the session ended."""
    monkeypatch.setattr("offhook.mcp.connection.FAREWELL_S", 0.2)

    async def test(connections: McpConnections) -> None:
        async with serve(Sessions().answer) as host:
            assert await connections.call_tool(at(host.url), "hours", "{}") == "nine to five"
            connections._drop("crm")
            await until(lambda: not connections.in_use)

    run(test)


@pytest.mark.parametrize(
    ("tool", "arguments", "kind", "said"),
    [
        ("erase", '{"phone":"1"}', "tool_execution_error", "nobody may erase 1"),
        ("erase", "{}", "tool_execution_error", "phone"),
        ("erase", "not json", "tool_execution_error", "no JSON object"),
        ("erase", "[]", "tool_execution_error", "no JSON object"),
        ("endless", "{}", "tool_execution_error", "more than"),
    ],
)
def test_a_tool_that_fails_says_why(tool: str, arguments: str, kind: str, said: str) -> None:
    async def test(connections: McpConnections) -> None:
        async with mcp_host() as host:
            error = await failure(connections.call_tool(at(host.url), tool, arguments))
            assert error.__struct_config__.tag == kind
            assert said in error.message
            await connections.close()

    run(test)


def answering(reply: Reply) -> Callable[[Received], Reply]:
    return lambda _: reply


JSON = "application/json"


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (Reply([b"busy"], status=503), "http_error", 503),
        (Reply([b"who?"], status=401), "http_error", 401),
        (Reply([b""], status=302, headers={"location": "http://127.0.0.1:1/inside"}), "http_error", 302),
        (Reply([b"<html>"], content_type="text/html"), "protocol_error", None),
        (Reply([b'{"jsonrpc":"2.0"'], content_type=JSON), "protocol_error", None),
        (Reply([b"x" * 65536] * (MAX_RESPONSE_BYTES // 65536 + 1), content_type=JSON), "protocol_error", None),
        (Reply([b"\x1f\x8b"], content_type=JSON, headers={"content-encoding": "gzip"}), "protocol_error", None),
        (Reply([b""], cut=True), "protocol_error", None),
        (Reply([b""], hang=True), "tool_execution_error", None),
    ],
    ids=["503", "401", "redirect", "html", "half", "gigabyte", "compressed", "cut", "hang"],
)
def test_a_server_that_is_none_is_survived(reply: Reply, kind: str, code: int | None) -> None:
    options = McpOptions(LOOPBACK.allow, answer_s=1.0 if reply.hang else 20)

    async def test(connections: McpConnections) -> None:
        async with serve(answering(reply)) as host:
            error = await failure(connections.list_tools(at(host.url)))
            assert error.__struct_config__.tag == kind, error
            if code is not None:
                assert getattr(error, "code", None) == code
            await until(lambda: not connections.in_use)

    run(test, options)


def test_a_name_that_leads_inside_is_not_followed() -> None:
    async def test(connections: McpConnections) -> None:
        async with serve(answering(Reply([b""]))) as host:
            server = at(host.url.replace("127.0.0.1", "localhost"))
            error = await failure(connections.list_tools(server))
            assert "inside of this server's network" in error.message
            assert host.received == []

    run(test, McpOptions(frozenset({"127.0.0.1"})))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("2001:0:53aa:64c:0:fbff:f5ff:fffe", False),
    ],
)
def test_which_addresses_are_outside(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"server_url": "ftp://x/"}, ".server_url"),
        ({"server_url": "http://"}, ".server_url"),
        ({"server_url": "https://u:p@x.example/"}, ".server_url"),
        ({"server_url": "http://127.0.0.1/mcp"}, ".server_url"),
        ({"server_url": "http://[::ffff:127.0.0.1]/mcp"}, ".server_url"),
        ({"server_url": "http://localhost:1/mcp"}, ".server_url"),
        ({"server_url": "http://x:99999/"}, ".server_url"),
        ({"connector_id": "connector_gmail"}, ".connector_id"),
        ({"tunnel_id": "tunnel_" + "a" * 32}, ".tunnel_id"),
        ({"server_url": "https://x.example", "headers": {"A\r\nB": "x"}}, ".headers"),
        ({"server_url": "https://x.example", "headers": {"A": "x\r\nB: y"}}, ".headers"),
        ({"server_url": "https://x.example", "headers": {"Host": "inside"}}, ".headers"),
        ({"server_url": "https://x.example", "authorization": "a\nb"}, ".authorization"),
    ],
)
def test_what_can_never_be_reached_is_refused_with_the_session(members: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiProblem) as caught:
        check_tool(McpTool(server_label="s", **members), "session.tools[0]", McpOptions())
    assert (caught.value.status, caught.value.param) == (400, "session.tools[0]" + param)


def test_a_connector_is_a_server_by_configuration() -> None:
    async def test(_: McpConnections) -> None:
        async with mcp_host() as host:
            options = McpOptions(LOOPBACK.allow, {"connector_gmail": host.url})
            tool = McpTool(server_label="mail", connector_id="connector_gmail", authorization="token")
            check_tool(tool, "session.tools[0]", options)
            connections = McpConnections(options)
            try:
                assert await connections.list_tools(tool)
            finally:
                await connections.close()

    run(test)


async def a_call_with_tools(one: Live, url: str) -> None:
    """A telephone call whose agent asks a server, with the approval of whoever watches."""
    tool = {"type": "mcp", "server_label": "crm", "server_url": url, "allowed_tools": ["hours"]}
    call, call_id = await one.ring()
    async with one.sdk.realtime.connect(call_id=call_id) as connection:
        socket = Socket(connection)
        await one.calls.accept(
            call_id, type="realtime", tools=[tool], tool_choice={"type": "mcp", "server_label": "crm"}
        )
        await call.answered()
        listed = (await socket.until("conversation.item.done"))[-1]["item"]
        assert [each["name"] for each in listed["tools"]] == ["hours"]

        await connection.response.create()
        events = await socket.until("rate_limits.updated")
        request = next(each["item"] for each in events if each.get("item", {}).get("type") == "mcp_approval_request")
        await connection.conversation.item.create(
            item={
                "type": "mcp_approval_response",
                "id": "mcprsp_1",
                "approval_request_id": request["id"],
                "approve": True,
            }
        )
        events = await socket.until("response.output_item.done")
        kinds = [event["type"] for event in events if event["type"].startswith("response.mcp_call.")]
        assert kinds == ["response.mcp_call.in_progress", "response.mcp_call.completed"]
        assert events[-1]["item"]["approval_request_id"] == request["id"]
        assert events[-1]["item"]["output"] == "nine to five"

        await connection.response.create()
        events = await socket.until("response.done")
        assert events[-1]["response"]["output"][0]["type"] == "message", "the model has read the call"
    await call.hang_up()


def test_a_whole_call_with_a_tool() -> None:
    async def whole() -> None:
        async with asyncio.timeout(120), mcp_host() as host, live(mcp_allow=["127.0.0.1"]) as one:
            await a_call_with_tools(one, host.url)

    asyncio.run(whole())


def test_a_session_without_a_call_has_tools_and_a_trace(tmp_path: Path) -> None:
    async def session(one: Live, url: str) -> str:
        tool = {"type": "mcp", "server_label": "crm", "server_url": url, "require_approval": "never"}
        async with one.sdk.realtime.connect(model="gpt-realtime") as connection:
            socket = Socket(connection)
            created = (await socket.until("session.created"))[0]
            settings = {"type": "realtime", "tools": [tool], "output_modalities": ["text"], "tracing": "auto"}
            choice = {"type": "mcp", "server_label": "crm", "name": "hours"}
            await connection.session.update(session=settings | {"tool_choice": choice})
            await socket.until("conversation.item.done")
            await connection.response.create()
            events = await socket.until("response.output_item.done")
            assert events[-1]["item"]["output"] == "nine to five"
            await connection.conversation.item.retrieve(item_id=events[-1]["item"]["id"])
            await socket.until("conversation.item.retrieved")
            bad = settings | {"tools": [tool | {"server_url": "http://10.0.0.1/"}]}
            await connection.session.update(session=bad)
            error = (await socket.until("error"))[-1]["error"]
            assert error["param"] == "session.tools[0].server_url"
        session_id: str = created["session"]["id"]
        return session_id

    async def whole() -> None:
        async with asyncio.timeout(120), mcp_host() as host:
            async with live(mcp_allow=["127.0.0.1"], store=str(tmp_path)) as one:
                session_id = await session(one, host.url)
            with closing(sqlite3.connect(tmp_path / "calls.sqlite3")) as database:
                rows = database.execute("SELECT name FROM spans WHERE call_id = ?", (session_id,)).fetchall()
            assert {"session", "response", "tool call", "list tools"} <= {name for (name,) in rows}

    asyncio.run(whole())
