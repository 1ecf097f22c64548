"""Deliver a signed webhook, again and again while it still matters.

Every attempt is signed anew, so that a verifier that checks the time takes the last one too; id and body stay the same,
so that a receiver can tell a repetition. Source: Standard Webhooks; API reference, "Webhooks".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import RequestBuilder

from offhook.telemetry.log import FactLog
from offhook.wire.signature import sign_webhook

# Connections that wait for the next call; an application on the same machine needs one or two.
MAX_IDLE_CONNECTIONS: Final = 32
# What is read of an answer; nobody looks at it.
MAX_BODY_BYTES: Final = 64 * 1024
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """``attempt_s``: an endpoint that has not answered by then is tried again."""

    attempt_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to deliver, and the keys to sign with: all of them, so that a secret can be changed without a gap."""

    url: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """What is delivered. ``id`` is the same on every attempt: a receiver knows a repetition by it."""

    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: ``status`` is the HTTP answer, None without one; ``why`` is a line for people when it failed."""

    number: int
    status: int | None
    why: str | None

    @property
    def delivered(self) -> bool:
        """Whether the endpoint has it now."""
        return self.why is None


class WebhookSender:
    """Delivers webhooks to applications. Redirects are never followed."""

    def __init__(
        self, options: WebhookOptions, *, user_agent: str, clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self._options = options
        self._user_agent = user_agent
        self._clock = clock
        self._jitter = jitter
        self._client: Client | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.attempts = 0
        self.failures = 0

    def start(self) -> None:
        """Open the pool of connections; none is made yet."""
        timeout = timedelta(seconds=self._options.attempt_s)
        self._client = (
            ClientBuilder()
            .follow_redirects(False)
            .timeout(timeout)
            .connect_timeout(timeout)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .user_agent(self._user_agent)
            .build()
        )

    async def stop(self) -> None:
        """Give up what is under way, and close the pool."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def submit(
        self,
        endpoint: Endpoint,
        message: Message,
        log: FactLog,
        *,
        wanted: Callable[[], bool],
        tell: Callable[[Attempt], None],
    ) -> None:
        """Deliver in the background: try until the endpoint takes it or says 410, as long as it is ``wanted``.

        The first attempt is made in any case: the caller hears ringing by now, and an application that is never told
        of a call that gave up at once would look like one that lost a webhook. An attempt under way is never broken
        off: applications act on the call while they handle its webhook, and a dropped connection would cancel them.
        """
        task = asyncio.get_running_loop().create_task(self._deliver(endpoint, message, log, wanted, tell))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(
        self,
        endpoint: Endpoint,
        message: Message,
        log: FactLog,
        wanted: Callable[[], bool],
        tell: Callable[[Attempt], None],
    ) -> None:
        pause_s = FIRST_PAUSE_S
        number = 0
        while not number or wanted():
            number += 1
            attempt = await self._try(endpoint, message, number)
            self.attempts += 1
            tell(attempt)
            if attempt.delivered:
                log.info("webhook delivered", attempt=number, status=attempt.status)
                return
            self.failures += 1
            log.warning("webhook failed", attempt=number, status=attempt.status, why=attempt.why, url=endpoint.url)
            if attempt.status == 410:
                return
            await asyncio.sleep(pause_s * (0.75 + 0.5 * self._jitter()))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _try(self, endpoint: Endpoint, message: Message, number: int) -> Attempt:
        if self._client is None:
            return Attempt(number, None, "the sender is not started")
        status = None
        try:
            request = self._request(self._client, endpoint, message)
            # Streamed, because only the status counts; a short body is read so that the connection can be used again.
            async with request.streamed_read_buffer_limit(0).build_streamed() as response:
                status = response.status
                await response.body_reader.read(MAX_BODY_BYTES)
        except Exception as failure:  # a URL or a header that the client refuses is told like every other failure
            if status is None:
                return Attempt(number, None, self._why(failure))
        if status is not None and 200 <= status < 300:
            return Attempt(number, status, None)
        is_redirect = status is not None and 300 <= status < 400
        return Attempt(number, status, "a redirect, which is never followed" if is_redirect else "refused")

    def _request(self, client: Client, endpoint: Endpoint, message: Message) -> RequestBuilder:
        timestamp_s = int(self._clock())
        return (
            client.post(endpoint.url)
            .header("content-type", "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", str(timestamp_s))
            .header("webhook-signature", sign_webhook(endpoint.keys, message.id, timestamp_s, message.body))
            .body_bytes(message.body)
        )

    def _why(self, failure: Exception) -> str:
        if isinstance(failure, RequestTimeoutError):
            return f"no answer within {self._options.attempt_s:g} s"
        if isinstance(failure, ConnectError):
            return "no connection"
        if isinstance(failure, PyreqwestError):
            return f"the connection broke ({type(failure).__name__})"
        return f"no request could be made ({failure or type(failure).__name__})"
