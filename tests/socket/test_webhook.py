"""Webhooks over real HTTP: signed, tried again while it matters, never broken off, every attempt told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from tests.socket.model_server import ModelHost, Received, Reply, serve

from offhook.telemetry.log import FactLog
from offhook.webhook.delivery import Attempt, Endpoint, Message, WebhookOptions, WebhookSender
from offhook.wire.signature import webhook_key

SECRETS = ("whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=", "whsec_b2xkIHNlY3JldCB0aGF0IGxlYXZlcw==")
BODY = (
    b'{"object":"event","id":"evt_1","type":"realtime.call.incoming","created_at":1,'
    b'"data":{"call_id":"rtc_1","sip_headers":[]}}'
)


def deliver(
    answer: Callable[[Received], Reply] | None,
    *,
    attempt_s: float = 2.0,
    still: Callable[[list[Attempt]], bool] = lambda _: True,
    url: str | None = None,
    clock: Callable[[], float] | None = None,
) -> tuple[list[Attempt], ModelHost]:
    """Deliver until it ends by itself; the pauses between attempts are the real ones, without chance."""
    import time

    attempts: list[Attempt] = []

    async def talk() -> ModelHost:
        async with serve(answer or (lambda _: Reply([b""]))) as host:
            there = url or (host.url if answer is not None else "http://127.0.0.1:1/")
            endpoint = Endpoint(there, tuple(map(webhook_key, SECRETS)))
            sender = WebhookSender(
                WebhookOptions(attempt_s), user_agent="offhook", clock=clock or time.time, jitter=lambda: 0.5
            )
            sender.start()
            sender.submit(
                endpoint,
                Message("wh_1", BODY),
                FactLog("test"),
                wanted=lambda: still(attempts),
                tell=attempts.append,
            )
            await asyncio.gather(*sender._tasks)
            await sender.stop()
            return host

    host = asyncio.run(talk())
    return attempts, host


def test_the_official_sdk_unwraps_what_is_delivered() -> None:
    attempts, host = deliver(lambda _: Reply([b"ok"]))
    assert [attempt.delivered for attempt in attempts] == [True]
    received = host.received[0]
    client = OpenAI(api_key="sk", base_url=host.url)
    event = client.webhooks.unwrap(received.body, received.headers, secret=SECRETS[0])
    assert event.type == "realtime.call.incoming"
    assert received.headers["webhook-id"] == "wh_1"
    assert received.headers["user-agent"] == "offhook"
    assert received.headers["content-type"] == "application/json"


@pytest.mark.parametrize("secret", SECRETS)
def test_both_secrets_of_a_rotation_verify(secret: str) -> None:
    _, host = deliver(lambda _: Reply([b""]))
    received = host.received[0]
    OpenAI(api_key="sk").webhooks.verify_signature(received.body, received.headers, secret=secret)
    with pytest.raises(InvalidWebhookSignatureError):
        OpenAI(api_key="sk").webhooks.verify_signature(received.body, received.headers, secret="whsec_b3RoZXI=")


def test_a_failing_endpoint_is_tried_again_and_each_attempt_is_told() -> None:
    replies = iter([Reply([b"no"], 500), Reply([b"yes"], 204)])
    attempts, host = deliver(lambda _: next(replies))
    assert [(attempt.number, attempt.status, attempt.why) for attempt in attempts] == [
        (1, 500, "refused"),
        (2, 204, None),
    ]
    assert host.received[0].headers["webhook-id"] == host.received[1].headers["webhook-id"]


def test_a_retried_webhook_is_signed_with_a_fresh_time() -> None:
    """Users' complaint: retried webhooks with a stale timestamp are rejected by verifiers."""
    replies = iter([Reply([], 503), Reply([])])
    times = iter([1000.0, 2000.0])
    _, host = deliver(lambda _: next(replies), clock=lambda: next(times))
    assert [received.headers["webhook-timestamp"] for received in host.received] == ["1000", "2000"]
    assert host.received[0].headers["webhook-signature"] != host.received[1].headers["webhook-signature"]


def test_a_redirect_is_a_failure_and_is_never_followed() -> None:
    replies = iter([Reply([], 302, headers={"location": "http://127.0.0.1:1/stolen"}), Reply([])])
    attempts, host = deliver(lambda _: next(replies))
    assert (attempts[0].status, attempts[0].why) == (302, "a redirect, which is never followed")
    assert {received.path for received in host.received} == {"/v1"}


def test_a_dead_endpoint_is_given_up_when_the_call_is_over() -> None:
    attempts, _ = deliver(None, still=lambda attempts: len(attempts) < 2)
    assert [(attempt.status, attempt.why) for attempt in attempts] == [(None, "no connection")] * 2


def test_a_call_that_is_over_at_once_was_announced_all_the_same() -> None:
    """Users' complaint: calls that failed without a webhook ever being sent."""
    attempts, host = deliver(lambda _: Reply([], 503), still=lambda _: False)
    assert [attempt.status for attempt in attempts] == [503], "once, and not again"
    assert len(host.received) == 1


def test_a_url_that_no_client_takes_is_told_at_every_attempt() -> None:
    """Nothing was told and nothing logged, and who waited for the first attempt waited for ever."""
    attempts, _ = deliver(None, url="http://exa mple/x", still=lambda attempts: len(attempts) < 2)
    assert [attempt.status for attempt in attempts] == [None, None]
    assert all("no request could be made" in str(attempt.why) for attempt in attempts)


def test_an_endpoint_that_says_yes_and_then_nothing_has_it() -> None:
    attempts, _ = deliver(
        lambda _: Reply([], hang=True, status=200), attempt_s=0.2, still=lambda attempts: not attempts
    )
    assert attempts[0].delivered, "the status came in time; nobody waits for the rest"


def test_an_endpoint_that_is_gone_is_not_asked_again() -> None:
    attempts, _ = deliver(lambda _: Reply([], 410))
    assert len(attempts) == 1


def test_an_answer_without_end_is_not_read() -> None:
    attempts, _ = deliver(lambda _: Reply([b"x" * 60_000] * 20, 200))
    assert attempts[0].delivered
