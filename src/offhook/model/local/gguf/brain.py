"""The GGUF model as a LanguageModel: its worker is kept alive, and spoken to like any chat server."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from msgspec.structs import replace

from offhook.model.http import ModelServer
from offhook.model.interface import ModelError, ModelOutput
from offhook.model.local.gguf import file
from offhook.model.local.pool import Pool, PoolOptions
from offhook.model.openai_http import ChatCompletions, ChatOptions
from offhook.session.outputs import Generate
from offhook.wire.session import FunctionTool, ToolChoiceFunction

ENGINE: Final = "offhook.model.local.gguf.engine:load"
# What one conversation may fill: on a telephone half an hour of talk, and memory for it is taken at the start.
CONTEXT_TOKENS: Final = 8192
# Some gigabytes from a cold disk.
START_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class GgufOptions:
    """``threads``: 0 leaves one core to the rest. ``silence_s``: how long it may say nothing."""

    path: Path
    threads: int = 0
    context_tokens: int = CONTEXT_TOKENS
    silence_s: float = 20.0


class GgufBrain:
    """A GGUF file that thinks. Its worker may die without taking anything along but the answer it was at."""

    def __init__(self, options: GgufOptions) -> None:
        self._options = options
        self._key = secrets.token_urlsafe(24)
        load = {
            "path": str(options.path),
            "threads": options.threads or max((os.cpu_count() or 2) - 1, 1),
            "context_tokens": options.context_tokens,
            "key": self._key,
        }
        self._pool = Pool(PoolOptions("language model", ENGINE, 1, load, start_s=START_S))
        self._chat: tuple[str, ModelServer, ChatCompletions] | None = None
        self._connecting = asyncio.Lock()

    @property
    def name(self) -> str:
        """The file."""
        return self._options.path.name

    @property
    def pids(self) -> list[int]:
        """The process id of the worker, while it lives."""
        return self._pool.pids

    def report(self) -> dict[str, Any]:
        """Return whether its worker lives, and how often it has died."""
        return {"workers": len(self.pids), "died": self._pool.counters.died}

    async def start(self) -> None:
        """Load and warm the model. Raises ConfigError with the line that mends it."""
        file.check(self._options.path)
        await self._pool.start()

    async def stop(self) -> None:
        """End the worker."""
        await self._hang_up()
        await self._pool.stop()

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield words, function calls and an end; whoever stops listening stops the model. Raises ModelError."""
        chat = await self._connected()
        async with aclosing(cast("Any", chat.generate(_understood(request)))) as outputs:
            async for output in outputs:
                yield output

    async def _connected(self) -> ChatCompletions:
        """Return the way to the worker that lives now; every one has an address of its own."""
        if not self.pids:
            raise ModelError("model_unavailable", "The language model failed and is being started again.")
        # Responses that come side by side share one way; the first of them makes it.
        async with self._connecting:
            url = str(self._pool.about["url"])
            if self._chat is None or self._chat[0] != url:
                await self._hang_up()
                server = ModelServer("language model", url, self._key, self._options.silence_s)
                await server.start()
                self._chat = url, server, ChatCompletions(server, ChatOptions(self.name))
            return self._chat[2]

    async def _hang_up(self) -> None:
        chat, self._chat = self._chat, None
        if chat is not None:
            await chat[1].stop()


def _understood(request: Generate) -> Generate:
    """Return the request as llama.cpp takes it: a function is demanded by offering no other."""
    choice = request.tool_choice
    if not isinstance(choice, ToolChoiceFunction):
        return request
    tools = tuple(each for each in request.tools if isinstance(each, FunctionTool) and each.name == choice.name)
    return replace(request, tools=tools, tool_choice="required" if tools else "none")
