"""Carries out what the conversation wants of MCP servers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from offhook.call.call import Output
from offhook.host.converser import Converser
from offhook.mcp.connection import McpConnections, McpServerError
from offhook.mcp.policy import McpOptions
from offhook.session import inputs as talk
from offhook.session import outputs as do
from offhook.wire.items import McpToolExecutionError


class McpCalls:
    """Asks servers side by side; every question has one answer, whatever happens."""

    def __init__(self, owner: Converser, options: McpOptions) -> None:
        self._owner = owner
        self._connections = McpConnections(options)
        self._asking: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Ask no more, and take leave of the servers."""
        for task in self._asking:
            task.cancel()
        if self._connections.in_use:
            self._owner.finish_later(self._connections.close())

    def perform(self, output: Output) -> None:
        """Do what is wanted of a server; anything else is not for here."""
        match output:
            case do.ListMcpTools():
                self._ask(self._list_tools(output))
            case do.CallMcpTool():
                self._ask(self._call_tool(output))
            case _:
                pass

    def _ask(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _list_tools(self, wanted: do.ListMcpTools) -> None:
        take, label = self._owner.take, wanted.server.server_label
        try:
            tools = await self._connections.list_tools(wanted.server)
        except McpServerError as failure:
            self._owner.log.warning("MCP server has no tools", server=label, why=str(failure))
            take(talk.McpListFailed(wanted.item_id, str(failure)))
        except Exception as bug:  # every question has an answer, also after a bug
            self._owner.log.error("MCP client failed", failure=bug, server=label)
            take(talk.McpListFailed(wanted.item_id, "The MCP client failed."))
        else:
            take(talk.McpToolsListed(wanted.item_id, tools))

    async def _call_tool(self, wanted: do.CallMcpTool) -> None:
        take, label = self._owner.take, wanted.server.server_label
        try:
            output = await self._connections.call_tool(wanted.server, wanted.name, wanted.arguments)
        except McpServerError as failure:
            self._owner.log.warning("MCP call failed", server=label, tool=wanted.name, pii_why=str(failure))
            take(talk.McpCallFinished(wanted.item_id, error=failure.error))
        except Exception as bug:  # as above
            self._owner.log.error("MCP client failed", failure=bug, server=label)
            broken = McpToolExecutionError(message="The MCP client failed.")
            take(talk.McpCallFinished(wanted.item_id, error=broken))
        else:
            take(talk.McpCallFinished(wanted.item_id, output))
