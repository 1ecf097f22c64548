"""Webhooks: genuine ones are read, the others refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import InvalidWebhookSignatureError as TheirError
from openai import OpenAI
from tests.scripted_transport import Scripted

import offhook
from offhook import types
from offhook.client.webhooks import check_webhook
from offhook.wire.signature import sign_webhook, webhook_key

# The vector of the official suites (contract b.2).
SECRET = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
NOW = 1_750_861_210
BODY = (
    '{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
    '"type": "response.completed", "data": {"id": "resp_123"}}'
)
HEADERS = {
    "webhook-id": "wh_685c059ae39c8190af8c71ed1022a24d",
    "webhook-timestamp": str(NOW),
    "webhook-signature": "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY=",
}
INCOMING = {
    "object": "event",
    "id": "evt_1",
    "type": "realtime.call.incoming",
    "created_at": NOW,
    "data": {"call_id": "rtc_1", "sip_headers": [{"name": "From", "value": "<sip:a@b>"}], "sip_media_security": "srtp"},
}


@pytest.fixture
def webhooks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    return offhook.Client(api_key="sk-1", webhook_secret=SECRET, transport=Scripted()).webhooks


def signed(body: bytes, secret: str = SECRET, timestamp_s: int = NOW) -> dict[str, str]:
    signature = sign_webhook([webhook_key(secret)], "wh_1", timestamp_s, body)
    return {"webhook-id": "wh_1", "webhook-timestamp": str(timestamp_s), "webhook-signature": signature}


def test_the_known_vector_is_genuine(webhooks: Any) -> None:
    event = webhooks.unwrap(BODY, HEADERS)
    assert (event.id, event.type, event.data.id) == (
        "evt_685c059ae3a481909bdc86819b066fb6",
        "response.completed",
        "resp_123",
    )
    assert event.to_dict() == json.loads(BODY)
    webhooks.verify_signature(BODY.encode(), HEADERS)


def test_a_call_is_typed(webhooks: Any) -> None:
    body = json.dumps(INCOMING | {"future": 1}).encode()
    event = webhooks.unwrap(body, signed(body))
    assert isinstance(event, types.RealtimeCallIncoming)
    assert (event.data.call_id, event.data.sip_media_security) == ("rtc_1", "srtp")
    assert event.data.sip_headers[0] == types.SipHeader("From", "<sip:a@b>")


@pytest.mark.parametrize(
    "shape",
    [
        lambda headers: {name.title(): value for name, value in headers.items()},
        lambda headers: list(headers.items()),
        lambda headers: [(name.encode(), value.encode()) for name, value in headers.items()],
        lambda headers: headers | {"webhook-signature": headers["webhook-signature"].removeprefix("v1,")},
        lambda headers: headers | {"webhook-signature": "v1,AAAA v2,x " + headers["webhook-signature"]},
    ],
)
def test_headers_come_in_many_shapes(webhooks: Any, shape: Callable[[dict[str, str]], Any]) -> None:
    webhooks.verify_signature(BODY, shape(HEADERS))


@pytest.mark.parametrize("name", HEADERS)
def test_a_missing_header_is_named(webhooks: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"Could not find {name} header"):
        webhooks.unwrap(BODY, {key: value for key, value in HEADERS.items() if key != name})


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": ""},
        {"webhook-signature": "v2,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY="},
        {"webhook-id": "wh_other"},
        {"webhook-id": "wh_\udcff"},
        {"webhook-signature": "v1,\udcff"},
        {"webhook-timestamp": "\udcff"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": " 1750861210"},
        {"webhook-timestamp": "1" * 30},
        {"webhook-timestamp": str(NOW - 301)},
        {"webhook-timestamp": str(NOW + 301)},
    ],
)
def test_what_is_not_genuine_is_refused(webhooks: Any, change: dict[str, str]) -> None:
    with pytest.raises(offhook.InvalidWebhookSignatureError):
        webhooks.unwrap(BODY, HEADERS | change)


def test_time_has_a_tolerance_both_ways(webhooks: Any) -> None:
    for seconds in (-300, 300):
        webhooks.verify_signature(b"{}", signed(b"{}", timestamp_s=NOW + seconds))
    with pytest.raises(offhook.InvalidWebhookSignatureError, match="too old"):
        webhooks.verify_signature(b"{}", signed(b"{}", timestamp_s=NOW - 11), tolerance=10)
    with pytest.raises(offhook.InvalidWebhookSignatureError, match="too new"):
        webhooks.verify_signature(b"{}", signed(b"{}", timestamp_s=NOW + 11), tolerance=10)


def test_a_body_that_was_changed_is_refused_before_it_is_read(webhooks: Any) -> None:
    for body in ("{", "\udcff"):
        with pytest.raises(offhook.InvalidWebhookSignatureError, match="does not match"):
            webhooks.unwrap(body, HEADERS)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"\xff", b'"realtime.call.incoming"', b"[" * 100_000])
def test_a_genuine_body_that_is_no_event_is_an_error_of_its_own(webhooks: Any, body: bytes) -> None:
    with pytest.raises(offhook.APIResponseValidationError):
        webhooks.unwrap(body, signed(body))


def test_a_secret_of_the_call_wins_and_none_is_an_error(monkeypatch: pytest.MonkeyPatch, webhooks: Any) -> None:
    webhooks.verify_signature(b"{}", signed(b"{}", secret="other"), secret="other")
    with pytest.raises(offhook.InvalidWebhookSignatureError):
        webhooks.verify_signature(b"{}", signed(b"{}", secret="other"))
    monkeypatch.delenv("OPENAI_WEBHOOK_SECRET", raising=False)
    bare = offhook.Client(api_key="sk-1", transport=Scripted())
    with pytest.raises(ValueError, match="webhook secret must"):
        bare.webhooks.verify_signature(b"{}", signed(b"{}"))


@pytest.fixture(scope="module")
def official() -> Any:
    return OpenAI(api_key="sk-1").webhooks


@given(text=st.text(max_size=50), secret=st.text(min_size=1, max_size=20), flip=st.integers(0, 10**6))
def test_the_official_package_judges_the_same(official: Any, text: str, secret: str, flip: int) -> None:
    body = text.encode()
    if secret.startswith("whsec_") or not secret.strip():
        return
    now = int(time.time())
    headers = signed(body, secret, now)
    changed = bytearray(body)
    if changed and flip % 2:
        changed[flip % len(changed)] ^= 1  # still UTF-8 for nearly all texts: the official package takes no other
    if not _is_text(changed):
        return

    def judge(check: Callable[[], None]) -> bool:
        try:
            check()
        except (TheirError, offhook.InvalidWebhookSignatureError):
            return False
        return True

    ours = judge(lambda: check_webhook(webhook_key(secret), bytes(changed), headers, now_s=now, tolerance_s=300))
    assert ours == judge(lambda: official.verify_signature(bytes(changed), headers, secret=secret))
    assert ours == (bytes(changed) == body)


def _is_text(data: bytearray) -> bool:
    try:
        return bool(data.decode()) or not data
    except UnicodeDecodeError:
        return False
