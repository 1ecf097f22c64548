"""A whole server on loopback, the official SDK on one side and a SIP telephone on the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.types.webhooks import RealtimeCallIncomingWebhookEvent
from tests.oracle import assert_server_event
from tests.socket.model_server import ModelHost, Received, Reply, serve

from offhook import server as wiring
from offhook.config import ProjectConfig, load_config
from offhook.host.project import Projects
from offhook.host.surroundings import THIS_MACHINE
from offhook.model.interface import Backend
from offhook.server import Ready, Server
from offhook.testing.application import Application, DirectWebhooks
from offhook.testing.box import PHONE_HOST, SERVER_HOST, PhoneOptions, in_memory
from offhook.testing.clock import JumpLoop
from offhook.testing.ladder import Ladder
from offhook.testing.phone import Phone, PhoneCall

KEY = "sk-test"
SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
PATIENCE_S = 20

Incoming = RealtimeCallIncomingWebhookEvent


@dataclass
class Live:
    server: Server
    ready: Ready
    hooks: ModelHost
    sdk: AsyncOpenAI
    phone: Phone
    application: Application
    """Is told of calls when all is in memory."""
    incoming: asyncio.Queue[Incoming] = field(default_factory=asyncio.Queue)

    @property
    def calls(self) -> Any:
        return self.sdk.realtime.calls

    async def dial(self, user: str = "agent", **options: Any) -> PhoneCall:
        target = f"sip:{user}@{self.ready.sip.removeprefix('sip:')}"
        return await self.phone.dial(target, **options)

    async def ring(self, **options: Any) -> tuple[PhoneCall, str]:
        """Dial, and wait for the webhook; return the caller's side and the call id."""
        call = await self.dial(**options)
        event = await asyncio.wait_for(self.incoming.get(), PATIENCE_S)
        return call, event.data.call_id

    async def talk(self, session: dict[str, Any] | None = None, **options: Any) -> tuple[PhoneCall, str]:
        """Dial and accept; return the caller's side and the call id."""
        call, call_id = await self.ring(**options)
        await self.calls.accept(call_id, **({"type": "realtime"} | (session or {})))
        await call.answered()
        return call, call_id

    def redirect_webhooks(self, url: str) -> None:
        """Let another program hear of the next calls."""
        (project,) = self.server.directory.projects
        moved = replace(project, endpoint=replace(project.endpoint, url=url))
        self.server.directory.projects = Projects([moved])

    async def record(self, call_id: str) -> dict[str, Any]:
        answer = await self.http("GET", f"/offhook/v1/calls/{call_id}")
        shown: dict[str, Any] = answer.json()
        return shown

    async def http(self, method: str, path: str, *, key: str | None = KEY, **options: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        headers |= options.pop("headers", {})
        async with httpx.AsyncClient(base_url=self.ready.http) as client:
            return await client.request(method, path, headers=headers, **options)


class Desk:
    """Takes the webhooks of a server in memory."""

    def __init__(self, receive: Callable[[Received], Reply]) -> None:
        self._receive = receive

    async def start(self) -> None:
        pass

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        reply = self._receive(Received("/", dict(headers), body))
        if reply.after is not None:
            await reply.after.wait()
        return reply.status

    async def stop(self) -> None:
        pass


@contextlib.asynccontextmanager
async def live(
    *,
    hook: Callable[[Received], Reply] | None = None,
    app: Callable[[Live, Incoming], Awaitable[None]] | None = None,
    projects: tuple[ProjectConfig, ...] = (),
    backend: Backend | None = None,
    toml: Path | None = None,
    **flags: Any,
) -> AsyncIterator[Live]:
    """Start a server; ``hook`` answers its webhooks, ``app`` acts on each call that is announced.

    ``backend`` is the model instead of those that flags name, ``toml`` a file of settings.
    """
    tasks: set[asyncio.Task[None]] = set()
    found: list[Live] = []

    def receive(received: Received) -> Reply:
        reply = hook(received) if hook is not None else Reply([b""])
        if reply.status == 200 and found:
            event = found[0].sdk.webhooks.unwrap(received.body, received.headers, secret=SECRET)
            assert isinstance(event, Incoming)
            found[0].incoming.put_nowait(event)
            if app is not None:
                task = asyncio.ensure_future(app(found[0], event))
                tasks.add(task)  # type: ignore[arg-type]
        return reply

    loop = asyncio.get_running_loop()
    around, sip, phone_host = THIS_MACHINE, "127.0.0.1:0", None
    if isinstance(loop, JumpLoop):
        around = in_memory(loop, PhoneOptions())
        ladder = Ladder(around.clock)
        webhooks = partial(DirectWebhooks, lambda: found[0].application if found else None, ladder)
        around = replace(around, webhooks=webhooks)
        sip, phone_host = f"{SERVER_HOST}:5060", PHONE_HOST
        flags = {"allow": [PHONE_HOST]} | flags
    async with serve(receive) as hooks:
        settings = {
            "http": "127.0.0.1:0",
            "sip": sip,
            "rtp_ports": "10000-19999",
            "models": "scripted",
            "api_key": [KEY],
            "webhook_url": hooks.url,
            "webhook_secret": [SECRET],
        }
        config = load_config(settings | flags, {}, toml)
        if projects:
            each = tuple(replace(project, webhook_url=hooks.url, webhook_secrets=(SECRET,)) for project in projects)
            config = replace(config, projects=each, api_key=(), webhook_url=None, webhook_secret=())
        if backend is not None:
            around = replace(around, backend=lambda _: backend)
        server = Server(config, around)
        ready = await server.start()
        sdk = AsyncOpenAI(
            api_key=KEY, base_url=ready.http + "/v1", max_retries=0, http_client=DefaultAsyncHttpxClient()
        )
        try:
            async with Phone(host=phone_host, around=around) as phone:
                one = Live(server, ready, hooks, sdk, phone, Desk(receive))
                found.append(one)
                yield one
                for task in tasks:
                    await task
        finally:
            await sdk.close()
            server.drain()
            await server.stop()


def run(test: Callable[..., Coroutine[Any, Any, None]], **flags: Any) -> None:
    """Run a test against a live server, with an end."""
    asyncio.run(_whole(test, flags))


def run_jumping(test: Callable[..., Coroutine[Any, Any, None]], **flags: Any) -> None:
    """Run a test against a server in memory on jumping time: it takes no time, and no busy machine disturbs it.

    Models and webhooks are those of this process: what threads of others bring does not stop the clock.
    """
    with asyncio.Runner(loop_factory=JumpLoop) as runner:
        runner.run(_whole(test, flags))


async def _whole(test: Callable[..., Coroutine[Any, Any, None]], flags: dict[str, Any]) -> None:
    async with asyncio.timeout(120), live(**flags) as one:
        await test(one)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something in the server that no event tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)


def part_of(one: Live, name: str) -> Any:
    """Return what a part of the server's cascade is played by: ``_hearing``, ``_mind``, ``_voice``."""
    return getattr(one.server.backend, name).order.seats[0].part


def be_patient(part: Any) -> None:
    """Let requests to a local model wait for a new worker: on a busy machine it is not back before callers give up."""
    pool = part._pool
    pool._options = replace(pool._options, wait_s=60.0)


def hurry(monkeypatch: pytest.MonkeyPatch, **timers: float) -> None:
    """Let the agent's clocks run faster: the timers of RFC 3261 are options of the agent, not settings of a server."""
    usual = wiring.agent_options

    def quick(config: Any) -> Any:
        return replace(usual(config), **timers)

    monkeypatch.setattr(wiring, "agent_options", quick)


class Socket:
    """A sideband through the SDK; every event is judged before a test sees it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        data = await asyncio.wait_for(self.connection.recv_bytes(), PATIENCE_S)
        event = assert_server_event(msgspec.json.decode(data, type=dict[str, Any]))
        self.events.append(event)
        return event

    async def until(self, type_: str) -> list[dict[str, Any]]:
        """Return the events up to and with the first of a type."""
        events = [await self.receive()]
        while events[-1]["type"] != type_:
            events.append(await self.receive())
        return events
