"""The application under test: how the webhook of a call gets to it without a network."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from offhook.errors import LocalError
from offhook.testing.ladder import Ladder
from offhook.webhook.delivery import Attempt, Endpoint, Message, WebhookSender
from offhook.wire.calls import RealtimeCallIncoming
from offhook.wire.signature import sign_webhook

_START_S: Final = 10.0
# What ends more than the application. Anything else that it raises is told, also what test frameworks derive from
# BaseException: outcomes such as those of `pytest.fail` and `pytest.raises`.
_GREATER: Final = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)


class ApplicationError(LocalError):
    """The application under test raised; the cause says what."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where and how an application reaches the API of the server under test."""

    base_url: str
    api_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Webhook:
    """The webhook of an incoming call as a callable is given it; ``access`` is what an SDK needs to answer."""

    headers: Mapping[str, str]
    body: bytes
    access: Access

    @property
    def event(self) -> RealtimeCallIncoming:
        """The payload."""
        return msgspec.json.decode(self.body, type=RealtimeCallIncoming)

    @property
    def call_id(self) -> str:
        """What the API calls the call."""
        return self.event.data.call_id

    def sip_header(self, name: str) -> str | None:
        """Return the first SIP header of this name, whatever its case; None when there is none."""
        found = (each.value for each in self.event.data.sip_headers if each.name.lower() == name.lower())
        return next(found, None)


class Application(Protocol):
    """Takes webhooks."""

    async def start(self) -> None:
        """Begin."""

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take a webhook and return the HTTP status."""

    async def stop(self) -> None:
        """End."""


class CalledApplication:
    """A function that is given each `Webhook`; a plain one runs in a thread, and then the clock runs in real time.

    The webhook is answered at once, as a server would that works on the call in the background.
    """

    def __init__(
        self, function: Callable[[Webhook], Any], access: Access, failed: Callable[[BaseException], None]
    ) -> None:
        self._function = function
        self._access = access
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing has to be started."""

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """Hand the webhook over."""
        task = asyncio.get_running_loop().create_task(self._handle(Webhook(headers, body, self._access)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return 200

    async def _handle(self, webhook: Webhook) -> None:
        try:
            if inspect.iscoroutinefunction(self._function) or inspect.iscoroutinefunction(
                getattr(self._function, "__call__", None)  # noqa: B004 - it is called; the question is how
            ):
                await self._function(webhook)
                return
            result = await asyncio.to_thread(self._function, webhook)
            if inspect.isawaitable(result):
                await result
        except _GREATER:
            raise
        except BaseException as failure:  # the application is not ours; the test is told
            self._failed(failure)

    async def stop(self) -> None:
        """Give up what still runs."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class AsgiApplication:
    """An ASGI application that is called directly, its lifespan included."""

    def __init__(self, app: Any, path: str, failed: Callable[[BaseException], None]) -> None:
        self._app = app
        self._path = path
        self._failed = failed
        self._lifespan: asyncio.Task[None] | None = None
        self._started = asyncio.Event()
        self._stopping = asyncio.Event()
        self._begun = False
        self._state: dict[str, Any] = {}

    async def start(self) -> None:
        """Let the application start up, if it has something to start."""
        self._lifespan = asyncio.get_running_loop().create_task(self._live())
        async with asyncio.timeout(_START_S):
            await self._started.wait()

    async def _live(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._app(scope, self._next_of_life, self._told_of_life)
        except _GREATER:
            raise
        except BaseException as failure:  # as above
            # Who has no lifespan may refuse it with any exception (ASGI, lifespan protocol).
            if self._started.is_set() or not isinstance(failure, Exception):
                self._failed(failure)
        finally:
            self._started.set()

    async def _next_of_life(self) -> dict[str, Any]:
        if not self._begun:
            self._begun = True
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _told_of_life(self, message: dict[str, Any]) -> None:
        if message["type"] == "lifespan.startup.failed":
            self._failed(LocalError(f"the application did not start: {message.get('message', '')}"))
        self._started.set()

    async def post(self, headers: Mapping[str, str], body: bytes) -> int:
        """Post the webhook to the application's path."""
        given = {"host": "application.test", "content-length": str(len(body)), **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": self._path,
            "raw_path": self._path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("application.test", 80),
            "state": dict(self._state),
        }
        sent = False
        status = 500
        answered = asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await answered.wait()
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False):
                answered.set()

        try:
            await self._app(scope, receive, send)
        except _GREATER:
            raise
        except BaseException as failure:  # as above
            self._failed(failure)
        return status

    async def stop(self) -> None:
        """Let the application shut down."""
        self._stopping.set()
        if self._lifespan is not None:
            await asyncio.wait([self._lifespan], timeout=_START_S)
            self._lifespan.cancel()


def made_application(app: Any, path: str, access: Access, failed: Callable[[BaseException], None]) -> Application:
    """Return what takes webhooks for a callable or an ASGI application. Raises LocalError for anything else."""
    if not callable(app):
        raise LocalError(f"{app!r} is neither a callable, nor an ASGI application, nor a URL")
    match _needed(app):
        case 3:  # scope, receive, send
            return AsgiApplication(app, path, failed)
        case 2:  # environ, start_response
            raise LocalError(f"{app!r} looks like a WSGI application: serve it, and give its URL with real=True")
        case _:
            return CalledApplication(app, access, failed)


def _needed(app: Callable[..., Any]) -> int:
    """Return how many arguments something has to be given."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(each.default is each.empty and each.kind in _POSITIONAL for each in parameters)


_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class DirectWebhooks(WebhookSender):
    """Delivers the webhooks of a server to an application in this process, signed and repeated like all others.

    ``find`` returns the application, None when the endpoint is a URL.
    """

    def __init__(self, find: Callable[[], Application | None], ladder: Ladder, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._find = find
        self._ladder = ladder

    def start(self) -> None:
        """Nothing is needed before a URL has to be posted to."""

    async def _try(self, endpoint: Endpoint, message: Message, number: int) -> Attempt:
        again = f" ({number})" if number > 1 else ""
        self._ladder.note("http>", f"webhook {_type_of(message.body)}{again}")
        application = self._find()
        if application is None:
            if self._client is None:
                super().start()
            attempt = await super()._try(endpoint, message, number)
        else:
            attempt = await self._hand_over(application, endpoint, message, number)
        self._ladder.note("<http", str(attempt.status or attempt.why))
        return attempt

    async def _hand_over(self, application: Application, endpoint: Endpoint, message: Message, number: int) -> Attempt:
        # The application's verifier looks at the clock on the wall, which never jumps.
        timestamp_s = int(time.time())
        headers = {
            "user-agent": self._user_agent,
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign_webhook(endpoint.keys, message.id, timestamp_s, message.body),
        }
        limit_s = self._options.attempt_s
        try:
            async with asyncio.timeout(limit_s):
                status = await application.post(headers, message.body)
        except TimeoutError:
            return Attempt(number, None, f"no answer within {limit_s:g} s")
        return Attempt(number, status, None if 200 <= status < 300 else "refused")


def _type_of(body: bytes) -> str:
    return str(json.loads(body).get("type", "?")).removeprefix("realtime.")


class ShownHttp:
    """Around the server's HTTP application: shows what the application under test asks for."""

    def __init__(self, app: Any, ladder: Ladder) -> None:
        self._app = app
        self._ladder = ladder

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a request or a socket."""
        if scope["type"] == "websocket":
            self._ladder.note("<http", "sideband")
        elif scope["type"] == "http":
            self._ladder.note("<http", f"{scope['method']} {scope['path'].rpartition('/')[2]}")

        async def shown(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._ladder.note("http>", str(message["status"]))
            elif message["type"] == "websocket.http.response.start":
                self._ladder.note("http>", f"sideband refused: {message['status']}")
            elif message["type"] == "websocket.close":
                self._ladder.note("http>", f"sideband closed: {message.get('reason') or message.get('code')}")
            await send(message)

        await self._app(scope, receive, shown)
