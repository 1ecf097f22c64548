"""A language model server in memory: the parts of the server that read its answers, without a connection between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from tests.socket.model_server import Received, Reply

from offhook.model.cascade import Cascade
from offhook.model.http import ModelServer
from offhook.model.interface import ModelError
from offhook.model.openai_http import ChatCompletions, ChatOptions
from offhook.model.scripted import ScriptedEar, ScriptedVoice


class Request:
    def __init__(self, path: str) -> None:
        self.received = Received(path, {}, b"")

    def header(self, name: str, value: str) -> Self:
        self.received.headers[name] = value
        return self

    def body_bytes(self, body: bytes) -> Self:
        self.received.body = body
        return self


class MemoryServer(ModelServer):
    def __init__(self, answer: Callable[[Received], Reply]) -> None:
        super().__init__("language model", "http://model.test/v1", None, timeout_s=20)
        self._answer = answer

    async def start(self) -> None:
        pass

    def request(self, path: str) -> Any:
        return Request(path)

    @asynccontextmanager
    async def stream(self, builder: Any) -> AsyncIterator[Any]:
        reply = self._answer(builder.received)
        if reply.after is not None:
            await reply.after.wait()
        if reply.status != 200:
            raise ModelError("model_error", f"The {self.name} answered {reply.status}.")
        yield reply

    async def chunks(self, response: Any) -> AsyncIterator[bytes]:
        for piece in response.pieces:
            yield piece
        if response.hang:
            await asyncio.Event().wait()
        if response.cut:
            raise ModelError("model_error", f"The connection to the {self.name} broke.")


def backend_in_memory(answer: Callable[[Received], Reply]) -> Cascade:
    """Return a backend whose language model answers like a `model_server`."""
    mind = ChatCompletions(MemoryServer(answer), ChatOptions("x"))
    return Cascade("x", ScriptedEar(), mind, ScriptedVoice())
