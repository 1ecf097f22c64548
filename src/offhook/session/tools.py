"""The tools of one session: functions that clients run, and MCP servers whose tools are run for them.

An MCP server is asked for its tools as soon as the session names it; a call of one runs when its arguments are whole,
or once it was approved, and what came of it is told after its response has ended. Then the client asks for the next
response: the server never goes on by itself. Source: API guide, "Realtime with MCP".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.mcp import (
    McpTarget,
    as_function,
    function_name,
    is_allowed,
    is_callable,
    is_same_server,
    needs_approval,
)
from offhook.session.response import MadeMcpCall, Response
from offhook.wire import server_events as ev
from offhook.wire.items import McpApprovalResponse, McpCall, McpListedTool, McpListTools, McpToolExecutionError
from offhook.wire.session import McpTool, Tool, ToolChoiceFunction, ToolChoiceMcp, Tools

if TYPE_CHECKING:
    from offhook.session.engine import Engine

# Every server is a connection and up to 128 tools; nobody has this many in one conversation.
MAX_SERVERS = 32
# Calls that run or wait for an approval.
MAX_OPEN_CALLS = 64

ToolInput = (
    happened.ToolCallStarted
    | happened.ToolArgumentsProduced
    | happened.WordsFinished
    | happened.McpToolsListed
    | happened.McpListFailed
    | happened.McpCallFinished
)


# -- what is known of a server


@dataclass(frozen=True, slots=True)
class Listing:
    """It was asked for its tools."""

    item_id: str


@dataclass(frozen=True, slots=True)
class Listed:
    """It has these."""

    tools: tuple[McpListedTool, ...]


@dataclass(frozen=True, slots=True)
class NotListed:
    """It could not say. The next time that the session names it, it is asked again."""


# -- what becomes of a call


@dataclass(frozen=True, slots=True)
class AwaitingApproval:
    """Somebody has to agree."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Running:
    """The server is at it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The result is there, and is told when the response has ended."""

    item: McpCall


@dataclass(slots=True)
class _OpenCall:
    made: MadeMcpCall
    response: Response
    state: AwaitingApproval | Running | Finished


@dataclass(slots=True)
class _Server:
    tool: McpTool
    state: Listing | Listed | NotListed


class ToolBox:
    """Shows tools to the model, and follows what it calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._servers: dict[str, _Server] = {}
        # Another server may have the label of one of the session's in one response, and must not take its place.
        self._of_responses: dict[str, _Server] = {}
        self._shown: dict[int, dict[str, McpTarget]] = {}
        self._calls: dict[str, _OpenCall] = {}

    @property
    def busy(self) -> bool:
        """Whether a server is at a call."""
        return bool(self._calls) and any(isinstance(call.state, Running) for call in self._calls.values())

    def take(self, event: ToolInput) -> None:
        """Take what happened to a tool, or to the call of one."""
        match event:
            case happened.McpToolsListed(item_id=item_id, tools=tools):
                self._list_ended(item_id, tools)
            case happened.McpListFailed(item_id=item_id):
                self._list_ended(item_id, None)
            case happened.McpCallFinished(item_id=item_id, output=output, error=error):
                self._finish(item_id, output, error)
            case (
                happened.ToolCallStarted(run=run)
                | happened.ToolArgumentsProduced(run=run)
                | happened.WordsFinished(run=run)
            ):
                response = self._engine.response_of(run)
                if response is not None:
                    self._produced(response, event)
            case _:
                assert_never(event)

    # -- which tools there are

    def discover(self, tools: Tools, *, of_response: bool = False) -> None:
        """Ask the servers that are named for the first time, or in another way than before, for their tools.

        ``of_response``: one response names them, not the session.
        """
        for tool in tools:
            if isinstance(tool, McpTool):
                of_session = self._servers.get(tool.server_label)
                own = of_response and not (of_session is not None and is_same_server(of_session.tool, tool))
                self._discover(tool, self._of_responses if own else self._servers)

    def _discover(self, tool: McpTool, servers: dict[str, _Server]) -> None:
        label = tool.server_label
        known = servers.get(label)
        if known is not None and is_same_server(known.tool, tool) and not isinstance(known.state, NotListed):
            return
        engine = self._engine
        item = McpListTools(id=engine.ids.mcp_list(), server_label=label, tools=())
        item_id = str(item.id)
        previous_id = engine.conversation.append(item)
        engine.send(ev.ConversationItemAdded(event_id=engine.ids.event(), previous_item_id=previous_id, item=item))
        engine.send(ev.McpListToolsInProgress(event_id=engine.ids.event(), item_id=item_id))
        if known is None and len(self._servers) + len(self._of_responses) >= MAX_SERVERS:
            self._tell_list(item_id, label, None)
            return
        if known is not None and isinstance(known.state, Listing):
            self._tell_list(known.state.item_id, label, None)
        servers[label] = _Server(tool, Listing(item_id))
        engine.emit(do.ListMcpTools(item_id, tool))

    def _list_ended(self, item_id: str, tools: tuple[McpListedTool, ...] | None) -> None:
        for server in self._all_servers():
            if server.state == Listing(item_id):
                server.state = NotListed() if tools is None else Listed(tools)
                allowed = None if tools is None else tuple(each for each in tools if is_allowed(server.tool, each))
                self._tell_list(item_id, server.tool.server_label, allowed)
                return

    def _all_servers(self) -> list[_Server]:
        return [*self._servers.values(), *self._of_responses.values()]

    def _tell_list(self, item_id: str, label: str, tools: tuple[McpListedTool, ...] | None) -> None:
        engine = self._engine
        kind = ev.McpListToolsFailed if tools is None else ev.McpListToolsCompleted
        engine.send(kind(event_id=engine.ids.event(), item_id=item_id))
        # A client may have deleted the item meanwhile.
        if item_id in engine.conversation:
            item = McpListTools(id=item_id, server_label=label, tools=tools or ())
            engine.conversation.replace(item)
            previous_id = engine.conversation.previous_id(item_id)
            engine.send(ev.ConversationItemDone(event_id=engine.ids.event(), previous_item_id=previous_id, item=item))

    def show(self, request: do.Generate) -> do.Generate:
        """Return a request with the tools of MCP servers as functions; only those count that are known by now."""
        if not any(isinstance(tool, McpTool) for tool in request.tools):
            return request
        targets: dict[str, McpTarget] = {}
        tools: list[Tool] = []
        for tool in request.tools:
            if isinstance(tool, McpTool):
                tools += self._show_server(tool, targets)
            else:
                tools.append(tool)
        self._shown[request.run] = targets
        shown = replace(request, tools=tuple(tools))
        return _choose(shown, targets) if isinstance(request.tool_choice, ToolChoiceMcp) else shown

    def _show_server(self, tool: McpTool, targets: dict[str, McpTarget]) -> list[Tool]:
        if not is_callable(tool):
            return []
        server = next((each for each in self._all_servers() if is_same_server(each.tool, tool)), None)
        listed = server.state.tools if server is not None and isinstance(server.state, Listed) else ()
        shown: list[Tool] = []
        for each in listed:
            function = as_function(tool, each)
            if is_allowed(tool, each) and function.name not in targets:
                targets[function.name] = McpTarget(tool, each.name, needs_approval(tool, each))
                shown.append(function)
        return shown

    # -- what the model calls

    def _produced(self, response: Response, event: ToolInput) -> None:
        engine = self._engine
        match event:
            case happened.ToolCallStarted(index=index, name=name, call_id=call_id):
                target = self._shown.get(response.run, {}).get(name)
                engine.send_all(response.start_call(index, name, call_id, target))
            case happened.ToolArgumentsProduced(index=index, delta=delta):
                engine.send_all(response.add_arguments(index, delta))
                engine.produced.stop_overrun(response)
            case _:
                engine.send_all(response.finish_words())
        self._run_new(response)

    def _run_new(self, response: Response) -> None:
        """Run the calls of a response that have become whole."""
        for made in response.take_mcp_calls():
            item_id = made.item.id
            if len(self._calls) >= MAX_OPEN_CALLS:
                self._calls[item_id] = _OpenCall(made, response, Running())
                message = f"{MAX_OPEN_CALLS} calls run or wait for an approval, which is the limit."
                self._finish(item_id, None, McpToolExecutionError(message=message))
            elif isinstance(request_id := made.item.approval_request_id, str):
                self._calls[item_id] = _OpenCall(made, response, AwaitingApproval(request_id))
            else:
                self._run(_OpenCall(made, response, Running()))

    def _run(self, call: _OpenCall) -> None:
        engine, made = self._engine, call.made
        call.state = Running()
        self._calls[made.item.id] = call
        engine.send(
            ev.McpCallInProgress(event_id=engine.ids.event(), output_index=made.output_index, item_id=made.item.id)
        )
        engine.emit(do.CallMcpTool(made.item.id, made.target.server, made.target.name, made.item.arguments))

    def response_ended(self, response: Response) -> None:
        """Run what became whole with the end of a response, and tell what its calls have brought meanwhile."""
        self._run_new(response)
        self._shown.pop(response.run, None)
        for call in list(self._calls.values()):
            if call.response is response and isinstance(call.state, Finished):
                self._tell(call, call.state.item)

    def _finish(self, item_id: str, output: str | None, error: happened.McpError | None) -> None:
        call = self._calls.get(item_id)
        if call is None or isinstance(call.state, Finished):
            return
        item = replace(call.made.item, output=None if error else output or "", error=error)
        if call.response.closed:
            self._tell(call, item)
        else:
            # An eager client asks for the next response at once, and must not meet this one.
            call.state = Finished(item)

    def _tell(self, call: _OpenCall, item: McpCall) -> None:
        del self._calls[item.id]
        engine = self._engine
        kind = ev.McpCallFailed if item.error else ev.McpCallCompleted
        engine.send(kind(event_id=engine.ids.event(), output_index=call.made.output_index, item_id=item.id))
        engine.send_all(call.response.finish_mcp_call(item, call.made.output_index))

    # -- approvals

    def check_approval(self, item: McpApprovalResponse) -> None:
        """Raise ApiProblem for an answer to what was not asked, or was answered already."""
        if self._asked(item.approval_request_id) is None:
            message = f"No approval request '{item.approval_request_id[:100]}' waits for an answer."
            raise ApiProblem(400, "invalid_value", message, param="item.approval_request_id")

    def approve(self, item: McpApprovalResponse) -> None:
        """Run a call that was waiting, or tell that it was not to be."""
        call = self._asked(item.approval_request_id)
        if call is None:
            return
        if item.approve:
            self._run(call)
            return
        reason = f": {item.reason}" if item.reason else "."
        self._finish(call.made.item.id, None, McpToolExecutionError(message=f"The call was not approved{reason}"))

    def _asked(self, request_id: str) -> _OpenCall | None:
        waiting = (call for call in self._calls.values() if call.state == AwaitingApproval(request_id))
        return next(waiting, None)

    # -- the end

    def close(self) -> None:
        """End everything that is under way: the session is over."""
        for server in self._all_servers():
            if isinstance(state := server.state, Listing):
                self._list_ended(state.item_id, None)
        ended = McpToolExecutionError(message="The session ended before the call did.")
        for item_id in list(self._calls):
            self._finish(item_id, None, ended)


def _choose(request: do.Generate, targets: dict[str, McpTarget]) -> do.Generate:
    """Return a request that asks for a tool of one server, in terms of functions; if it has none, for none of it."""
    choice = request.tool_choice
    assert isinstance(choice, ToolChoiceMcp)
    if isinstance(choice.name, str):
        name = function_name(choice.server_label, choice.name)
        return replace(request, tool_choice=ToolChoiceFunction(name=name) if name in targets else "auto")
    wanted = {name for name, target in targets.items() if target.server.server_label == choice.server_label}
    if not wanted:
        return replace(request, tool_choice="auto")
    tools = tuple(tool for tool in request.tools if not isinstance(tool, McpTool) and tool.name in wanted)
    return replace(request, tools=tools, tool_choice="required")
