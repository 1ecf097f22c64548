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
        """Close the pool."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def deliver(self, endpoint: Endpoint, webhook_id: str, body: bytes, log: FactLog) -> Attempt:
        """Try until the endpoint takes it; cancel this to give up. Returns the attempt that ended it.

        Only an answer 410 (the endpoint wants no more) ends it undelivered.
        """
        pause_s = FIRST_PAUSE_S
        number = 0
        while True:
            number += 1
            attempt = await self._try(endpoint, webhook_id, body, number)
            self.attempts += 1
            if attempt.delivered:
                log.info("webhook delivered", attempt=number, status=attempt.status)
                return attempt
            self.failures += 1
            log.warning("webhook failed", attempt=number, status=attempt.status, why=attempt.why, url=endpoint.url)
            if attempt.status == 410:
                return attempt
            await asyncio.sleep(pause_s * (0.75 + 0.5 * self._jitter()))
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _try(self, endpoint: Endpoint, webhook_id: str, body: bytes, number: int) -> Attempt:
        if self._client is None:
            return Attempt(number, None, "the sender is not started")
        timestamp_s = int(self._clock())
        request = (
            self._client.post(endpoint.url)
            .header("content-type", "application/json")
            .header("webhook-id", webhook_id)
            .header("webhook-timestamp", str(timestamp_s))
            .header("webhook-signature", sign_webhook(endpoint.keys, webhook_id, timestamp_s, body))
            .body_bytes(body)
        )
        status = None
        try:
            # Streamed, because only the status counts; a short body is read so that the connection can be used again.
            async with request.build_streamed() as response:
                status = response.status
                await response.body_reader.read(MAX_BODY_BYTES)
        except PyreqwestError as failure:
            if status is None:
                return Attempt(number, None, self._why(failure))
        if status is not None and 200 <= status < 300:
            return Attempt(number, status, None)
        is_redirect = status is not None and 300 <= status < 400
        return Attempt(number, status, "a redirect, which is never followed" if is_redirect else "refused")

    def _why(self, failure: PyreqwestError) -> str:
        if isinstance(failure, RequestTimeoutError):
            return f"no answer within {self._options.attempt_s:g} s"
        if isinstance(failure, ConnectError):
            return "no connection"
        return f"the connection broke ({type(failure).__name__})"
