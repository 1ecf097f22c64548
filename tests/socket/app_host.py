"""An application of `offhook.App` on one side, a whole server on the other, and a telephone that calls."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from tests.socket.live import KEY, PATIENCE_S, SECRET, Live, live
from tests.socket.model_server import Received, Reply, serve
from tests.socket.test_models import delta, sse

import offhook


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
    url: str
    log: list[Any] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)


def app_at(one: Live, **options: Any) -> offhook.App:
    return offhook.App(api_key=KEY, webhook_secret=SECRET, base_url=one.ready.http + "/v1", **options)


def play(
    build: Callable[[Scene], None],
    test: Callable[[Scene], Awaitable[None]],
    *,
    app: dict[str, Any] | None = None,
    brain: Brain | None = None,
    **flags: Any,
) -> Scene:
    """Start a server and an application that ``build`` furnishes, and run the test against both."""
    mind = brain or Brain()
    scenes: list[Scene] = []

    async def whole() -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(120))
            if brain is not None:
                host = await stack.enter_async_context(serve(mind.answer))
                flags["llm_url"] = host.url
            one = await stack.enter_async_context(live(**flags))
            scene = Scene(one, app_at(one, **(app or {})), mind, "")
            scenes.append(scene)
            build(scene)
            scene.url = await stack.enter_async_context(served(scene.app))
            one.redirect_webhooks(scene.url)
            await test(scene)

    asyncio.run(whole())
    return scenes[0]
