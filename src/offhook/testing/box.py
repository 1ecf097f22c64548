"""A server, a telephone and what lies between them in one box: in memory on jumping time, or on real sockets."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

from offhook.audio.pcm import Samples
from offhook.call import machine as telephone_side
from offhook.config import load_config
from offhook.errors import ApiProblem, LocalError
from offhook.host.directory import NOBODY, Directory
from offhook.host.owner import CallOwner
from offhook.host.project import Projects
from offhook.host.sideband import Closing, Sideband
from offhook.host.surroundings import THIS_MACHINE, Surroundings
from offhook.net.sip import SipTransport
from offhook.server import Server
from offhook.sip import output as sip
from offhook.testing.application import Access, Application, DirectWebhooks, ShownHttp, made_application
from offhook.testing.clock import START_S, JumpLoop, PlaneStepper
from offhook.testing.ladder import Ladder
from offhook.testing.link import MemoryNetwork, MemoryPoller, MemoryRange, Weather
from offhook.testing.model import ScriptedModel
from offhook.testing.phone import Phone
from offhook.testing.recognised import LocalSpeech, RecognisingEar
from offhook.testing.signalling import Exchange
from offhook.testing.speech import BookEar
from offhook.wire.decode import decode_session
from offhook.wire.url import check_url

API_KEY: Final = "sk-offhook-test"
WEBHOOK_SECRET: Final = "whsec_b2ZmaG9vayB0ZXN0IHNlY3JldA=="  # noqa: S105 - guards nothing but a test
SERVER_HOST: Final = "192.0.2.1"
PHONE_HOST: Final = "192.0.2.2"
# What the clock on the wall says at the beginning of every test in memory: the same results include the dates.
WALL_S: Final = 1_767_225_600
# Events of one call that are kept, for tests to look at: more than an hour of talk has.
MAX_EVENTS: Final = 100_000
# Where webhooks go that are not posted anywhere.
IN_PROCESS: Final = "http://application.test/"


@dataclass(frozen=True, slots=True)
class PhoneOptions:
    """How a test's telephone network is made.

    ``real``: real sockets and real time, otherwise memory and jumping time. ``to``: only with ``real``, the SIP address
    of a server that runs elsewhere; then there is no server and no scripted model of ours. The line between telephone
    and server loses and copies shares of the packets and delays them, both ways, as ``seed`` draws it; only in memory.
    ``settings`` are those of ``offhook serve``, by name.
    """

    real: bool = False
    to: str | None = None
    seed: int = 1
    loss: float = 0.0
    copies: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weather(self) -> Weather:
        """What the line does."""
        return Weather(self.loss, self.copies, self.delay_ms, self.jitter_ms)


class Watched:
    """One call as the server sees it: its id, and every event that its sockets are sent."""

    def __init__(self, owner: CallOwner, sideband: Sideband, ladder: Ladder) -> None:
        self.call_id = owner.call.id
        self.events: list[dict[str, Any]] = []
        self._ladder = ladder
        self._sideband = sideband

    async def read(self) -> None:
        """Take events until the call is over."""
        while not isinstance(texts := await self._sideband.take(), Closing):
            for event in map(json.loads, texts):
                if len(self.events) < MAX_EVENTS:
                    self.events.append(event)
                self._ladder.event(event)


class _Accepting:
    """The application of a test that has none: accepts every call."""

    def __init__(
        self,
        find: Callable[[str], CallOwner | None],
        session: Callable[[], Mapping[str, Any]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._find = find
        self._session = session
        self._failed = failed

    async def start(self) -> None:
        """Nothing has to be started."""

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """Accept the call; a session that is none is the test's failure."""
        del headers
        owner = self._find(json.loads(body)["data"]["call_id"])
        session = json.dumps({"type": "realtime"} | dict(self._session())).encode()
        try:
            params = decode_session(session)
        except ApiProblem as problem:
            self._failed(problem)
            return 400
        if owner is not None:
            owner.take(telephone_side.AcceptAsked(params, session, NOBODY))
        return 200

    async def stop(self) -> None:
        """Nothing has to be stopped."""


class Box:
    """Everything that a test needs, started together and stopped together. Needs the loop that it runs in.

    In memory mode that is a `JumpLoop`.
    """

    def __init__(self, options: PhoneOptions, model: ScriptedModel) -> None:
        if options.to is not None and not options.real:
            raise LocalError(f"{options.to} can only be called with real=True")
        self.options = options
        self.model = model
        self.session: Mapping[str, Any] = {}
        self.failures: list[BaseException] = []
        """What the application under test has raised."""
        loop = asyncio.get_running_loop()
        if not options.real and not isinstance(loop, JumpLoop):
            raise LocalError("this event loop waits in real time: run the test on the phone's own, or with real=True")
        self._around = THIS_MACHINE if not isinstance(loop, JumpLoop) or options.real else in_memory(loop, options)
        self.ladder = Ladder(self._around.clock)
        self._application: Application | None = None
        self._watched: dict[str, Watched] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._opened = AsyncExitStack()
        self._server: Server | None = None
        self._local = LocalSpeech() if options.to is not None else None
        self._access: Access | None = None
        self.phone = Phone(host=None if options.real else PHONE_HOST, around=self._around)
        self.phone.watch = self.ladder.sip

    @property
    def access(self) -> Access:
        """Where the API is. Raises LocalError when the server is somebody else's."""
        if self._access is None:
            raise LocalError("the API of the called server is not known here")
        return self._access

    def clock(self) -> float:
        """Return the time that everything in the box goes by."""
        return self._around.clock()

    async def start(self) -> None:
        """Start the server, unless another one is called, and the telephone; all of it or nothing."""
        async with AsyncExitStack() as opening:
            opening.push_async_callback(self._forget_calls)
            if self._local is not None:
                opening.push_async_callback(self._local.stop)
            if self.options.to is None:
                await self._start_server(opening)
            # One that could not plug in has something to close, too.
            opening.push_async_exit(self.phone)
            await self.phone.__aenter__()
            self._opened = opening.pop_all()

    async def _start_server(self, opening: AsyncExitStack) -> None:
        around = replace(
            self._around,
            backend=lambda _: self.model,
            webhooks=lambda *given, **named: DirectWebhooks(self._find_application, self.ladder, *given, **named),
            surround=lambda app: ShownHttp(app, self.ladder),
            sip=self._watched_sip,
        )
        usual: dict[str, Any] = {
            "http": "127.0.0.1:0",
            "sip": "127.0.0.1:0" if self.options.real else f"{SERVER_HOST}:5060",
            "api_key": [API_KEY],
            "webhook_url": IN_PROCESS,
            "webhook_secret": [WEBHOOK_SECRET],
            "models": "scripted",
        }
        if not self.options.real:
            usual["allow"] = [PHONE_HOST]
        server = Server(load_config(usual | dict(self.options.settings), {}), around)
        opening.push_async_callback(server.stop)
        opening.callback(server.drain)
        ready = await server.start()
        self._server = server
        self._access = Access(f"{ready.http}/v1", API_KEY, WEBHOOK_SECRET)
        self._application = _Accepting(self._owner, lambda: self.session, self.failures.append)
        opening.push_async_callback(self._dismiss)

    async def stop(self) -> None:
        """End the calls and close everything, also what comes after something that cannot be closed."""
        await self._opened.aclose()

    async def _dismiss(self) -> None:
        """Let go of the application."""
        if self._application is not None:
            await self._application.stop()

    async def _forget_calls(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connect(self, app: Any, path: str) -> None:
        """Let an application be told of calls from now on: a callable, an ASGI application, or a URL (real only)."""
        if self._server is None:
            raise LocalError("the webhooks of the called server are not ours to send")
        application: Application | None
        if isinstance(app, str):
            if not self.options.real:
                raise LocalError(f"{app} cannot be posted to on jumping time: use real=True, or give the application")
            check_url("connect", app)
            (project,) = self._server.directory.projects
            if project.endpoint is not None:
                moved = replace(project, endpoint=replace(project.endpoint, url=app))
                self._server.directory.projects = Projects([moved])
            application = None
        else:
            application = made_application(app, path, self.access, self.failures.append)
        if application is not None:
            try:
                await application.start()
            except BaseException:  # also when cancelled; raised again
                await application.stop()
                raise
        before, self._application = self._application, application
        if before is not None:
            await before.stop()

    def ear(self) -> BookEar | RecognisingEar:
        """Return what hears a call: by the sounds of the script, or by recognising speech where a stranger speaks."""
        return BookEar(self.model.book) if self._local is None else RecognisingEar(self._local)

    async def speak(self, text: str) -> list[tuple[str, Samples]]:
        """Return a text in pieces with their sound. Raises LocalError when nothing here can say it."""
        if self._local is None:
            return [(sentence.text, sentence.samples) for sentence in self.model.book.speak(text)]
        return [(text, await self._local.say(text))]

    def target(self, to: str) -> str:
        """Return the SIP address of whom a test wants to call."""
        if to.startswith(("sip:", "sips:")):
            return to
        if self._server is None:
            user_at, _, rest = str(self.options.to).partition("@")
            return f"sip:{to}@{rest}" if rest and to else f"{user_at}@{rest}" if rest else str(self.options.to)
        host, port = self._server.sip.address
        return f"sip:{to}@{host}:{port}"

    def watched(self, sip_call_id: str) -> Watched | None:
        """Return how the server sees a call of the telephone; None before it has come in."""
        return self._watched.get(sip_call_id)

    def _find_application(self) -> Application | None:
        return self._application

    def _owner(self, call_id: str) -> CallOwner | None:
        owners = self._directory.active if self._server is not None else []
        return next((owner for owner in owners if owner.call.id == call_id), None)

    @property
    def _directory(self) -> Directory:
        assert self._server is not None
        return self._server.directory

    def _watched_sip(
        self, agent: Any, options: Any, on_output: Callable[[sip.Output], None], **rest: Any
    ) -> SipTransport:
        def take(output: sip.Output) -> None:
            on_output(output)
            if isinstance(output, sip.Invited):
                self._watch(output)

        return self._around.sip(agent, options, take, **rest)

    def _watch(self, invited: sip.Invited) -> None:
        """Listen to a call that has just come in; its application has not been told of it yet."""
        owners = self._directory.active if self._server is not None else []
        owner = next((each for each in reversed(owners) if each.invitation.leg is invited.leg), None)
        if owner is None:
            return
        watched = Watched(owner, owner.attach(own_events=True), self.ladder)
        self._watched[invited.leg.call_id] = watched
        task = asyncio.get_running_loop().create_task(watched.read())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def in_memory(loop: JumpLoop, options: PhoneOptions) -> Surroundings:
    """Return a network in memory, and the clock of a loop for all that is on it. Threads of anyio are waited for."""
    loop.busy_elsewhere = _threads_of_anyio()
    network = MemoryNetwork(loop.time, options.seed)
    if options.weather != Weather():
        network.weather |= {SERVER_HOST: options.weather, PHONE_HOST: options.weather}
    exchange = Exchange(loop, network)
    chance = random.Random(options.seed)  # noqa: S311 - the same in every run is the point
    return Surroundings(
        clock=loop.time,
        wall_s=lambda: WALL_S + loop.time() - START_S,
        cpu_clock=lambda: 0.0,
        chance=chance.randbytes,
        randbits=chance.getrandbits,
        share=chance.random,
        pollers=MemoryPoller,
        ports=lambda host, first, last: MemoryRange(network, host, first, last),
        routes=_OneRoute,
        drive=lambda plane: PlaneStepper(loop, plane),
        sip=exchange.transport,
    )


class _OneRoute:
    """In memory everybody is reached from the telephone's one address."""

    def local_host(self, remote_host: str) -> str | None:
        """Return it."""
        del remote_host
        return PHONE_HOST


def _threads_of_anyio() -> Callable[[], bool]:
    """Return what says whether threads of anyio are at work, in which Starlette runs plain functions."""
    from anyio.to_thread import current_default_thread_limiter

    limiter = current_default_thread_limiter()
    return lambda: limiter.borrowed_tokens > 0
