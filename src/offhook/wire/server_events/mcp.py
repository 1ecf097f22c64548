"""Events about the tools of MCP servers."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from offhook.wire.server_events.common import ServerEventBase


class McpListToolsInProgress(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="mcp_list_tools.in_progress"
):
    """An MCP server is asked for its tools."""

    item_id: str


class McpListToolsCompleted(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="mcp_list_tools.completed"
):
    """An MCP server has said which tools it has."""

    item_id: str


class McpListToolsFailed(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="mcp_list_tools.failed"):
    """An MCP server did not say which tools it has."""

    item_id: str


class McpCallArgumentsDelta(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call_arguments.delta"
):
    """A part of the arguments of a call of an MCP server's tool."""

    response_id: str
    item_id: str
    output_index: int
    delta: str
    obfuscation: str | UnsetType = UNSET


class McpCallArgumentsDone(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call_arguments.done"
):
    """All arguments of a call of an MCP server's tool."""

    response_id: str
    item_id: str
    output_index: int
    arguments: str


class McpCallInProgress(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.in_progress"
):
    """A tool of an MCP server runs."""

    output_index: int
    item_id: str


class McpCallCompleted(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.completed"):
    """A tool of an MCP server has run."""

    output_index: int
    item_id: str


class McpCallFailed(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="response.mcp_call.failed"):
    """A tool of an MCP server did not run, or not to its end."""

    output_index: int
    item_id: str
