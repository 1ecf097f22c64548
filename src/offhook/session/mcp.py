"""Tools of MCP servers as a model sees them: names, filters, approvals, and what is left of a call in the context.

A model knows functions only, so every tool is shown as one, and a finished call as a function call with its output.
Source: API reference, "MCP tool"; Model Context Protocol, "Tools".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from msgspec import UNSET

from offhook.wire.items import (
    FunctionCall,
    FunctionCallOutput,
    Item,
    McpApprovalRequest,
    McpApprovalResponse,
    McpCall,
    McpListedTool,
    McpListTools,
)
from offhook.wire.session import FunctionTool, McpApprovalFilter, McpTool, McpToolFilter

# Chat completions take names of functions up to this long.
MAX_FUNCTION_NAME_CHARS = 64
_ONLY_OURS = frozenset((McpCall, McpListTools, McpApprovalRequest, McpApprovalResponse))
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, slots=True)
class McpTarget:
    """A tool that a model may call in one response, as the session had it then."""

    server: McpTool
    name: str
    needs_approval: bool


def function_name(server_label: str, name: str) -> str:
    """Return how a model calls a tool."""
    return _NOT_IN_NAMES.sub("_", f"{server_label}__{name}")[:MAX_FUNCTION_NAME_CHARS]


def as_function(server: McpTool, listed: McpListedTool) -> FunctionTool:
    """Return a tool as the function that a model is shown, with what its server is for."""
    about = "\n\n".join(filter(None, (listed.description or "", server.server_description or "")))
    return FunctionTool(
        name=function_name(server.server_label, listed.name),
        description=about or UNSET,
        parameters=listed.input_schema,
    )


def is_same_server(one: McpTool, other: McpTool) -> bool:
    """Say whether two tools of a session mean the same server, reached in the same way."""

    def way(tool: McpTool) -> tuple[object, ...]:
        return (tool.server_url, tool.connector_id, tool.tunnel_id, tool.authorization, tool.headers or None)

    return one.server_label == other.server_label and way(one) == way(other)


def is_allowed(server: McpTool, listed: McpListedTool) -> bool:
    """Say whether ``allowed_tools`` lets the model have a tool."""
    match server.allowed_tools:
        case McpToolFilter() as wanted:
            return _matches(wanted, listed)
        case tuple() as names:
            return listed.name in names
        case _:
            return True


def is_callable(server: McpTool) -> bool:
    """Say whether the model itself may call the tools of a server; nothing here calls them from a program."""
    return not server.allowed_callers or "direct" in server.allowed_callers


def needs_approval(server: McpTool, listed: McpListedTool) -> bool:
    """Say whether somebody has to approve each call of a tool; where nothing is said about it, yes."""
    match server.require_approval:
        case "never":
            return False
        case McpApprovalFilter(always=always, never=never):
            # A filter that says nothing exempts nothing, and what stands in both is asked about.
            exempt = _says_something(never) and _matches(never, listed)
            return not exempt or (_says_something(always) and _matches(always, listed))
        case _:
            return True


def _says_something(wanted: object) -> bool:
    return isinstance(wanted, McpToolFilter) and (wanted.tool_names is not UNSET or wanted.read_only is not UNSET)


def _matches(wanted: object, listed: McpListedTool) -> bool:
    """Say whether a tool has all that a filter names."""
    if not isinstance(wanted, McpToolFilter):
        return False
    if wanted.tool_names is not UNSET and listed.name not in wanted.tool_names:
        return False
    # MCP: a tool that does not say that it only reads may write.
    reads_only = bool(listed.annotations) and listed.annotations.get("readOnlyHint") is True  # type: ignore[union-attr]
    return wanted.read_only is UNSET or wanted.read_only is reads_only


def as_model_reads(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the items of a context without those that only clients read; calls of tools become functions."""
    if _ONLY_OURS.isdisjoint(map(type, items)):
        return items
    read: list[Item] = []
    for item in items:
        match item:
            case McpCall():
                read += _as_functions(item)
            case McpListTools() | McpApprovalRequest() | McpApprovalResponse():
                pass
            case _:
                read.append(item)
    return tuple(read)


def _as_functions(call: McpCall) -> list[Item]:
    """Return a call and what came of it; nothing while it is not known."""
    if isinstance(call.output, str):
        output = call.output
    elif call.error:
        output = f"Error: {call.error.message}"
    else:
        return []
    name = function_name(call.server_label, call.name)
    function = FunctionCall(
        id=call.id, status="completed", call_id=call.id, name=name, arguments=call.arguments or "{}"
    )
    return [function, FunctionCallOutput(id=f"{call.id[:60]}_out", call_id=call.id, output=output)]
