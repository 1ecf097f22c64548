"""The MCP servers of one session: a connection each, over streamable HTTP or, where that is refused, SSE.

Whatever a server does wrong becomes a ``McpServerError`` with the error that its item carries. Source: Model Context
Protocol, "Transports", "Tools".
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec

from offhook.errors import ApiProblem, RemoteError
from offhook.mcp.policy import AddressRefusedError, McpOptions
from offhook.session.inputs import McpError
from offhook.session.mcp import is_same_server
from offhook.wire import limits
from offhook.wire.decode import check_nesting
from offhook.wire.items import McpHttpError, McpListedTool, McpProtocolError, McpToolExecutionError
from offhook.wire.session import McpTool

T = TypeVar("T")

# A model reads the result with every turn that follows; this is beyond most contexts already.
MAX_OUTPUT_CHARS: Final = 256 * 1024
MAX_PAGES: Final = 16
# JSON-RPC's range for servers; the protocol's own code for a connection that is gone.
CONNECTION_CLOSED: Final = -32000
# What the protocol's client says when no answer can come any more, and when the session was ended by the server.
_CONNECTION_CODES: Final = frozenset((CONNECTION_CLOSED, -32600))
# A session that a server has forgotten is a 404 by the protocol, and one of the others by habit.
_SESSION_GONE: Final = frozenset((400, 404, 410))
FAREWELL_S: Final = 2.0
_SHOWN_CHARS: Final = 300
# What servers of before streamable HTTP answer to its first message.
_ASK_FOR_SSE: Final = frozenset((400, 404, 405, 406, 415, 501))


class McpServerError(RemoteError):
    """A server did not do what was asked. ``error`` is what its item says."""

    def __init__(self, error: McpError) -> None:
        super().__init__(error.message)
        self.error = error


class McpConnections:
    """Connections of one session, by server label. All methods may be called side by side."""

    def __init__(self, options: McpOptions) -> None:
        self._options = options
        self._peers: dict[str, _Peer] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def in_use(self) -> bool:
        """Whether a server was reached, or is about to be."""
        return bool(self._leaving)

    async def list_tools(self, server: McpTool) -> tuple[McpListedTool, ...]:
        """Return the tools of a server, over a new connection. Raises McpServerError."""
        self._drop(server.server_label)
        listed = await self._ask(server, _list_all)
        return tuple(filter(None, map(_read_tool, listed[: limits.MAX_TOOLS])))

    async def call_tool(self, server: McpTool, name: str, arguments: str) -> str:
        """Run a tool and return what it said. Raises McpServerError."""
        try:
            given = msgspec.json.decode(arguments or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise McpServerError(McpToolExecutionError(message="The arguments are no JSON object.")) from None
        result = await self._ask(server, lambda client: client.call_tool(name, given))
        text = _text_of(result)
        if result.is_error:
            raise McpServerError(McpToolExecutionError(message=text or "The tool failed and did not say why."))
        return text

    async def close(self) -> None:
        """Take leave of all servers; one that makes this long is dropped."""
        for label in list(self._peers):
            self._drop(label)
        leaving = list(self._leaving)
        try:
            if leaving:
                await asyncio.wait(leaving, timeout=FAREWELL_S)
        finally:
            for task in leaving:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)

    async def _ask(self, server: McpTool, do: Callable[[Any], Awaitable[T]]) -> T:
        peer = self._peers.get(server.server_label)
        if peer is None or peer.is_gone or not is_same_server(peer.server, server):
            self._drop(server.server_label)
            peer = self._peers[server.server_label] = _Peer(server, self._options)
            self._leaving.add(peer.task)
            peer.task.add_done_callback(self._leaving.discard)
        peer.asking += 1
        try:
            async with asyncio.timeout(self._options.answer_s):
                return await do(await peer.client())
        except TimeoutError:
            if not peer.is_open:
                # Whoever did not answer the first message is asked anew the next time.
                self._drop(server.server_label)
            message = f"The MCP server did not answer within {self._options.answer_s:g} s."
            raise McpServerError(McpToolExecutionError(message=message)) from None
        except Exception as failure:  # the library's errors have no common type; told as an item
            error = peer.explain(failure)
            if _is_about_the_connection(error) and self._peers.get(server.server_label) is peer:
                # The next question goes over a new one. This one is not asked again: it may have been heard.
                del self._peers[server.server_label]
            raise McpServerError(error) from failure
        finally:
            peer.asking -= 1
            if not peer.asking and self._peers.get(server.server_label) is not peer:
                # Whoever else waited for an answer over the old one has it now.
                peer.leave()

    def _drop(self, label: str) -> None:
        if (peer := self._peers.pop(label, None)) is not None:
            peer.leave()


class _Peer:
    """One connection. A task of its own holds it open, as its library wants it closed where it was opened."""

    def __init__(self, server: McpTool, options: McpOptions) -> None:
        self.server = server
        self.asking = 0
        """How many questions wait for their answers."""
        self._options = options
        self._guard: Any = None
        self._over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[Any] = loop.create_future()
        self.task = loop.create_task(self._hold())

    @property
    def is_gone(self) -> bool:
        """Whether nothing can be asked any more."""
        return self.task.done() or self._over.is_set()

    @property
    def is_open(self) -> bool:
        """Whether the server has answered."""
        return self._opened.done()

    def leave(self) -> None:
        """Close the connection; the task ends when that is done, or has taken too long."""
        if self._over.is_set():
            return
        self._over.set()
        if not self._opened.done():
            self.task.cancel()
        # The server is told of the end of the session, and may be slow to hear it.
        asyncio.get_running_loop().call_later(FAREWELL_S, self.task.cancel)

    async def client(self) -> Any:
        """Wait for the connection, and return the protocol's client."""
        # Whoever waits may give up; the connection is still made for the others.
        return await asyncio.shield(self._opened)

    async def _hold(self) -> None:
        try:
            async with self._connect() as client:
                self._opened.set_result(client)
                await self._over.wait()
        except Exception as failure:  # raised again by whoever asks first
            if not self._opened.done():
                self._opened.set_exception(failure)
        finally:
            if not self._opened.done():
                self._opened.set_exception(RemoteError("the connection was closed"))
            # Nobody may have waited for it.
            self._opened.exception()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            try:
                client = await self._enter(stack, self._streamable())
            except Exception:  # as above; raised again unless the server wants SSE
                if self._guard is None or self._guard.refusal not in _ASK_FOR_SSE:
                    raise
                client = await self._enter(stack, self._sse())
            yield client

    async def _enter(self, stack: AsyncExitStack, transport: Any) -> Any:
        return await stack.enter_async_context(
            _library("mcp").Client(transport, read_timeout_seconds=self._options.answer_s, cache=None)
        )

    @asynccontextmanager
    async def _streamable(self) -> AsyncIterator[Any]:
        streamable = _library("mcp.client.streamable_http").streamable_http_client
        async with self._http() as http, streamable(self._url, http_client=http) as streams:
            yield streams

    def _sse(self) -> Any:
        connect = _library("mcp.client.sse").sse_client
        return connect(self._url, httpx_client_factory=lambda **_: self._http())

    def _http(self) -> Any:
        guard = _library("offhook.mcp.guard")
        self._guard = guard.GuardedTransport(self._options)
        return guard.guarded_client(self._guard, self._headers(), self._options.answer_s)

    @property
    def _url(self) -> str:
        server = self.server
        return server.server_url or self._options.connectors.get(server.connector_id or "", "")

    def _headers(self) -> dict[str, str]:
        headers = dict(self.server.headers or {})
        if isinstance(token := self.server.authorization, str):
            headers["Authorization"] = token if token.lower().startswith(("bearer ", "basic ")) else f"Bearer {token}"
        return headers

    def explain(self, failure: BaseException) -> McpError:
        """Return what went wrong as an item says it."""
        if isinstance(failure, BaseExceptionGroup):
            return self.explain(failure.exceptions[0])
        refusal = self._guard.refusal if self._guard is not None else 0
        if refusal:
            return McpHttpError(code=refusal, message=f"The MCP server answered with HTTP status {refusal}.")
        if isinstance(failure, AddressRefusedError):
            return McpProtocolError(code=CONNECTION_CLOSED, message=f"The MCP server is out of reach: {failure}.")
        if isinstance(code := getattr(failure, "code", None), int):
            return McpProtocolError(code=code, message=_shown(failure))
        message = f"The connection to the MCP server failed: {_shown(failure)}"
        return McpProtocolError(code=CONNECTION_CLOSED, message=message)


def _is_about_the_connection(error: McpError) -> bool:
    match error:
        case McpHttpError(code=code):
            return code in _SESSION_GONE
        case McpProtocolError(code=code):
            return code in _CONNECTION_CODES
        case _:
            return False


def _library(name: str) -> Any:
    """Return a module of the protocol's package, which is heavy and only there with ``offhook[mcp]``."""
    # What it logs is what servers sent; the facts that matter are logged by whoever asked.
    logging.getLogger("mcp").setLevel(logging.CRITICAL + 1)
    return importlib.import_module(name)


async def _list_all(client: Any) -> list[Any]:
    tools: list[Any] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if not cursor or len(tools) >= limits.MAX_TOOLS:
            break
    return tools


def _read_tool(listed: Any) -> McpListedTool | None:
    """Return a tool as items show it; None for what no model could be shown."""
    value = {"name": listed.name, "input_schema": listed.input_schema, "description": listed.description}
    if listed.annotations is not None:
        value["annotations"] = listed.annotations.model_dump(by_alias=True, mode="json", exclude_none=True)
    try:
        tool = msgspec.convert(value, McpListedTool)
        check_nesting(tool.input_schema, "")
        check_nesting(tool.annotations, "")
    except (msgspec.ValidationError, ApiProblem):
        return None
    return tool


def _text_of(result: Any) -> str:
    texts = []
    for part in result.content:
        # Text is in the part itself, or in the resource that it embeds.
        text = getattr(getattr(part, "resource", part), "text", None)
        texts.append(text if isinstance(text, str) else f"[{part.type}]")
    if not texts and result.structured_content is not None:
        texts.append(msgspec.json.encode(result.structured_content).decode())
    text = "\n".join(texts)
    if len(text) > MAX_OUTPUT_CHARS:
        message = f"The tool returned more than {MAX_OUTPUT_CHARS} characters."
        raise McpServerError(McpToolExecutionError(message=message))
    return text


def _shown(failure: BaseException) -> str:
    text = " ".join(str(failure).split()) or type(failure).__name__
    return "".join(char for char in text if char.isprintable())[:_SHOWN_CHARS]
