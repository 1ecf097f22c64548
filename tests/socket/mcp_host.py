"""A real MCP server, written with the official package, on loopback."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from offhook.net.http import HttpServer

pytest.importorskip("mcp", reason="offhook[mcp] is not installed")


@dataclass
class McpHost:
    """Where it is, and which headers came with its requests."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)


def _server() -> Any:
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp_types import ToolAnnotations

    server = MCPServer("crm", log_level="CRITICAL")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def lookup(phone: str) -> str:
        """Find a customer by the number."""
        return f"Ada calls from {phone}"

    @server.tool()
    def hours() -> str:
        """Say when somebody is there."""
        return "nine to five"

    @server.tool()
    def erase(phone: str) -> str:
        """Forget a customer."""
        raise ToolError(f"nobody may erase {phone}")

    @server.tool()
    def endless() -> str:
        """Say far too much."""
        return "x" * 300_000

    # The package sets the root logger up for a program of its own.
    logging.getLogger().handlers.clear()
    return server


@contextlib.asynccontextmanager
async def mcp_host(transport: str = "http") -> AsyncIterator[McpHost]:
    """Run a server over streamable HTTP (``http``) or ``sse``."""
    host = McpHost()
    server = _server()
    inner = server.sse_app() if transport == "sse" else server.streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            host.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await inner(scope, receive, send)

    async with inner.router.lifespan_context(inner):
        http = HttpServer(app)
        try:
            address, port = await http.start("127.0.0.1", 0)
            host.url = f"http://{address}:{port}/{'sse' if transport == 'sse' else 'mcp'}"
            yield host
        finally:
            await http.stop(1)
