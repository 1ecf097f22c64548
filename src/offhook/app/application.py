"""`App`: takes the webhooks of calls, and gives each call to a handler.

It is an ASGI application: mount it anywhere, serve it with anything, or ``app.run()`` it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

from offhook.app import limits
from offhook.app.incoming import IncomingCall
from offhook.app.tool import Tool
from offhook.client.async_client import AsyncClient
from offhook.client.errors import APIResponseValidationError, InvalidWebhookSignatureError, NotFoundError
from offhook.errors import ConfigError
from offhook.wire.calls import RealtimeCallIncoming

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[IncomingCall], Awaitable[Any]]
F = TypeVar("F", bound=Callable[..., Any])

_log: Final = logging.getLogger("offhook.app")
# What a caller gets whose handler failed: trunks try elsewhere then, which they do not after 603.
_FAILED_STATUS: Final = 500
_STOPPING_STATUS: Final = 503
_OUR_SERVER: Final = b"offhook/"


class App:
    """Answers calls: a handler for each, webhooks verified and told apart, functions run, ends cleaned up.

    Where its server is, and its keys, it knows as `AsyncClient` does: ``OPENAI_BASE_URL`` (else OpenAI's),
    ``OPENAI_API_KEY``, ``OPENAI_WEBHOOK_SECRET``. They are read when it starts, not when it is made.

    Served with ASGI's lifespan, it refuses to start without its keys and waits for its calls when it stops. Mounted in
    another application, that is done by ``async with app:`` in the other one's lifespan; without it all works too, but
    nobody waits for calls.

    Args:
        client: A client of your own. It is not closed at the end.
        api_key: Default: ``OPENAI_API_KEY``.
        webhook_secret: Default: ``OPENAI_WEBHOOK_SECRET``.
        base_url: Default: ``OPENAI_BASE_URL``.
        max_calls: Calls at a time; further ones are answered 503, and the server tries again while they ring.
        drain_s: How long the calls may take when the application stops; then they are hung up.
    """

    def __init__(
        self,
        *,
        client: AsyncClient | None = None,
        api_key: str | None = None,
        webhook_secret: str | None = None,
        base_url: str | None = None,
        max_calls: int = limits.MAX_CALLS,
        drain_s: float = limits.DRAIN_S,
    ) -> None:
        self._given_client = client
        self._settings: dict[str, Any] = {"api_key": api_key, "webhook_secret": webhook_secret, "base_url": base_url}
        self._max_calls = max_calls
        self._drain_s = drain_s
        self._handler: Handler | None = None
        self._tools: list[Tool] = []
        self._office: _Office | None = None

    # -- what it consists of

    def incoming(self, handler: F) -> F:
        """Let this coroutine function decide about every call: ``@app.incoming``.

        It is given an `IncomingCall`. One that returns without having decided rejects the call; one that raises ends
        it, whatever it raises: a call that rings is rejected with 500, one that is answered is hung up.
        """
        if not inspect.iscoroutinefunction(handler):
            raise TypeError(f"{handler!r} is no coroutine function: write it with async def")
        if self._handler is not None:
            raise ValueError("this application has a handler of incoming calls already")
        self._handler = handler
        return handler

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(
        self, /, *, name: str | None = None, description: str | None = None, timeout: float = limits.FUNCTION_S
    ) -> Callable[[F], F]: ...
    def tool(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Let the model of every call use this function: ``@app.tool``, or with the options of `Tool`."""

        def add(function: F) -> F:
            tool = Tool(function, **options)
            if any(each.name == tool.name for each in self._tools):
                raise ValueError(f"there are two tools named {tool.name!r}")
            self._tools.append(tool)
            return function

        return add if function is None else add(function)

    # -- living

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Take no more calls, and wait for those that are there: ``drain_s`` at most, then they are hung up.

        A handler's exception that is no Exception (the outcome of a ``pytest.fail``) is raised here, the first one.
        """
        office = self._office
        if office is not None:
            failure = await office.close(self._drain_s)
            self._office = None
            if failure is not None:
                raise failure

    def run(self, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
        """Serve on its own, until it is stopped; ``options`` are those of ``uvicorn.run``.

        Raises ConfigError without a handler, without keys, and without uvicorn.
        """
        try:
            import uvicorn
        except ImportError:
            raise ConfigError("uvicorn", "is not installed", "pip install uvicorn, or offhook[server]") from None
        self._check()
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
        uvicorn.run(self, host=host, port=port, lifespan="on", **options)

    def _check(self) -> None:
        """Raise ConfigError for what cannot work."""
        if self._handler is None:
            raise ConfigError("incoming", "no handler takes the calls", "decorate one with @app.incoming")
        client = self._given_client or AsyncClient(**self._settings)
        client.webhooks.check_secret()

    def _open(self) -> _Office:
        """Return what works in this event loop. Raises ConfigError."""
        loop = asyncio.get_running_loop()
        if self._office is None or self._office.loop is not loop:
            self._check()
            client = self._given_client or AsyncClient(**self._settings)
            handler = self._handler
            assert handler is not None
            self._office = _Office(
                loop, client, handler, tuple(self._tools), self._max_calls, own=self._given_client is None
            )
        return self._office

    # -- ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a webhook: a POST to whatever path this is mounted at."""
        match scope["type"]:
            case "lifespan":
                await self._live(receive, send)
            case "http":
                status = await self._serve(scope, receive)
                await _answer(send, status)
            case "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1000, "reason": ""})
            case _:
                pass

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            self._open()
        except ConfigError as refused:
            await send({"type": "lifespan.startup.failed", "message": str(refused)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, scope: Scope, receive: Receive) -> int:
        if scope["method"] != "POST":
            return 405
        body = await _read_body(receive)
        if body is None:
            return 413
        try:
            office = self._open()
        except ConfigError as refused:
            _log.error("webhooks are refused: %s", refused)
            return 500
        return office.take(body, scope["headers"])


class _Office:
    """The calls of an application in one event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: AsyncClient,
        handler: Handler,
        tools: tuple[Tool, ...],
        max_calls: int,
        *,
        own: bool,
    ) -> None:
        self.loop = loop
        self._client = client
        self._owns_client = own
        self._handler = handler
        self._tools = tools
        self._max_calls = max_calls
        self._known: OrderedDict[str, None] = OrderedDict()
        self._calls: set[asyncio.Task[None]] = set()
        self._closing = False
        self._failure: BaseException | None = None

    def take(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> int:
        """Take a webhook; return the HTTP status that answers it."""
        try:
            event = self._client.webhooks.unwrap(body, headers)
        except InvalidWebhookSignatureError as refused:
            _log.warning("a webhook was refused: %s", refused)
            return 400
        except APIResponseValidationError as refused:
            _log.warning("a webhook is genuine and cannot be read: %s", refused)
            return 400
        if not isinstance(event, RealtimeCallIncoming):
            if getattr(event, "type", None) != "realtime.call.incoming":
                return 200
            _log.error("a webhook announces a call, and cannot be read")
            return 400
        fields = dict(headers)
        # The same webhook again, or the same call by another one: an account may have several.
        names = (fields.get(b"webhook-id", b"").decode("latin-1"), event.data.call_id)
        if any(name in self._known for name in names):
            return 200
        if self._closing or len(self._calls) >= self._max_calls:
            _log.warning("call_id=%s: not taken now, %d calls are there", event.data.call_id, len(self._calls))
            return 503
        for name in names:
            self._known[name] = None
        while len(self._known) > limits.MAX_REMEMBERED:
            self._known.popitem(last=False)
        theirs = fields.get(b"user-agent", b"").startswith(_OUR_SERVER)
        call = IncomingCall(self._client, event, self._tools, is_from_offhook=theirs)
        task = self.loop.create_task(self._handle(call))
        self._calls.add(task)
        task.add_done_callback(self._forget)
        return 200

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        failure = None if task.cancelled() else task.exception()
        # What ends the process goes its own way: asyncio raises it out of the loop.
        if self._failure is None and not isinstance(failure, KeyboardInterrupt | SystemExit):
            self._failure = failure

    async def _handle(self, call: IncomingCall) -> None:
        try:
            await self._let_decide(call)
        except Exception as failure:  # the handler is not ours; its call ends, the others go on
            await self._end_failed(call, failure)
        except asyncio.CancelledError as failure:
            if not _is_stopping():  # nobody cancelled this: the handler raised it
                await self._end_failed(call, failure)
                return
            await self._abandon(call, _STOPPING_STATUS)
            if call.session is not None:
                await call.session.close(patiently=False)
            raise
        except GeneratorExit:  # nobody runs this any more: nothing can be awaited
            raise
        except BaseException as failure:  # what ends a test or the process ends the call first
            await self._end_failed(call, failure)
            raise

    async def _let_decide(self, call: IncomingCall) -> None:
        await self._handler(call)
        if call.undecided:
            _log.warning("call_id=%s: the handler decided nothing; the call is rejected", call.call_id)
            await call.reject()
        elif call.session is not None:
            await call.session.wait_ended()
            await call.session.close()
        elif not call.over:
            _log.warning("call_id=%s: its accept failed, and it may be answered; it is ended", call.call_id)
            await self._abandon(call, _FAILED_STATUS)

    async def _end_failed(self, call: IncomingCall, failure: BaseException) -> None:
        try:
            # A handler may let its own call's 404 pass. Another call's is a failure like any other.
            if isinstance(failure, NotFoundError) and failure.code == "call_id_not_found" and call.over:
                _log.info("call_id=%s: the caller has given up", call.call_id)
            else:
                _log.error("call_id=%s: the handler failed; the call is ended", call.call_id, exc_info=failure)
                await self._abandon(call, _FAILED_STATUS)
        finally:
            if call.session is not None:
                await call.session.close()

    async def _abandon(self, call: IncomingCall, status_code: int) -> None:
        try:
            await call.abandon(status_code)
        except Exception as failure:  # also of a key's function, which is not ours; the other calls go on
            _log.error("call_id=%s: the call could not be ended: %s", call.call_id, failure)

    async def close(self, drain_s: float) -> BaseException | None:
        """Wait for the calls, then end them. Returns what a handler raised that is no Exception."""
        self._closing = True
        if self._calls:
            _log.info("waiting for %d calls, %g s at most", len(self._calls), drain_s)
            await asyncio.wait(self._calls, timeout=drain_s)
        left = list(self._calls)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        if self._owns_client:
            await self._client.close()
        return self._failure


def _is_stopping() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body; None for one that is too large. One that breaks off fails at its signature."""
    parts: list[bytes] = []
    size_bytes = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        part = message.get("body", b"")
        size_bytes += len(part)
        if size_bytes > limits.MAX_WEBHOOK_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            break
    return b"".join(parts)


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-length", b"0")]
    if status == 405:
        headers.append((b"allow", b"POST"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
