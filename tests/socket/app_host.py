"""An application of `offhook.App` on one side, a whole server on the other, and a telephone that calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import uvicorn
from tests.socket.live import KEY, PATIENCE_S, SECRET, Live, live
from tests.socket.memory_model import backend_in_memory
from tests.socket.model_server import Received, Reply, serve
from tests.socket.test_models import delta, sse

import offhook
from offhook.testing.application import AsgiApplication
from offhook.testing.clock import JumpLoop


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application; yield its URL."""
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started:
                assert not task.done(), "the application did not start"
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        await task


@dataclass
class Brain:
    """A language model that says what it is told to, and remembers what it was asked."""

    replies: list[list[bytes]] = field(default_factory=list)
    asked: list[list[dict[str, Any]]] = field(default_factory=list)

    def says(self, text: str) -> None:
        self.replies.append(sse(delta(content=text), delta("stop")))

    def calls(self, *functions: tuple[str, str]) -> None:
        called = [
            {"index": index, "id": f"c{index}", "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(functions)
        ]
        self.replies.append(sse(delta(tool_calls=called), delta("tool_calls")))

    def answer(self, received: Received) -> Reply:
        self.asked.append(json.loads(received.body)["messages"])
        return Reply(self.replies.pop(0) if self.replies else sse(delta(content="Yes."), delta("stop")))

    def outputs(self, question: int) -> list[str]:
        """What functions had told the model by then."""
        return [each["content"] for each in self.asked[question] if each["role"] == "tool"]


@dataclass
class Scene:
    one: Live
    app: offhook.App
    brain: Brain
    wire: Wire
    log: list[Any] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Wire:
    """A line to a server that can be cut, and left so for a number of attempts; it may swallow what is sent, too."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.refusals = 0
        self.connections = 0
        self.swallows = False
        self.swallowed_bytes = 0
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.swallows = False
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusals:
            self.refusals -= 1
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._to)
        ways = [
            asyncio.create_task(self._copy(reader, there, outwards=True)),
            asyncio.create_task(self._copy(there_reader, writer, outwards=False)),
        ]
        self._writers |= {writer, there}
        self._tasks.update(ways)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outwards: bool) -> None:
        try:
            while data := await reader.read(65536):
                if outwards and self.swallows:
                    self.swallowed_bytes += len(data)
                    continue
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


def without_name(app: Any) -> Any:
    """Hide from an application that its server is offhook: any other one of the same API might be there."""

    async def hiding(scope: Any, receive: Any, send: Any) -> None:
        headers = [pair for pair in scope.get("headers", ()) if pair[0] != b"user-agent"]
        await app({**scope, "headers": headers}, receive, send)

    return hiding


def play(
    build: Callable[[Scene], None],
    test: Callable[[Scene], Awaitable[None]],
    *,
    brain: Brain | None = None,
    elsewhere: bool = False,
    real: bool = False,
    **flags: Any,
) -> Scene:
    """Start a server and an application that ``build`` furnishes, and run the test against both.

    ``elsewhere``: the application does not know that the server is offhook. ``real``: on real sockets and in real time.
    """
    mind = brain or Brain()
    scenes: list[Scene] = []

    async def whole() -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(120))
            if brain is not None and real:
                flags["llm_url"] = (await stack.enter_async_context(serve(mind.answer))).url
            elif brain is not None:
                flags["backend"] = backend_in_memory(mind.answer)
            one = await stack.enter_async_context(live(**flags))
            wire = await stack.enter_async_context(Wire(int(one.ready.http.rpartition(":")[2])))
            client = offhook.AsyncClient(
                api_key=KEY,
                webhook_secret=SECRET,
                base_url=one.ready.http + "/v1",
                websocket_base_url=f"ws://127.0.0.1:{wire.port}/v1",
            )
            stack.push_async_callback(client.close)
            scene = Scene(one, offhook.App(client=client), mind, wire)
            scenes.append(scene)
            build(scene)
            app = without_name(scene.app) if elsewhere else scene.app
            if real:
                one.redirect_webhooks(await stack.enter_async_context(served(app)))
            else:
                one.application = AsgiApplication(app, "/", pytest.fail)
                await one.application.start()
                stack.push_async_callback(one.application.stop)
            await test(scene)

    with asyncio.Runner(loop_factory=None if real else JumpLoop) as runner:
        runner.run(whole())
    return scenes[0]
