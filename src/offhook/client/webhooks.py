"""Webhooks: is this from the server, of now, and what does it say. Source: Standard Webhooks; contract b and e.5."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from offhook.client.errors import APIResponseValidationError, InvalidWebhookSignatureError
from offhook.client.limits import WEBHOOK_TOLERANCE_S
from offhook.client.other import Other
from offhook.errors import ConfigError
from offhook.wire.calls import RealtimeCallIncoming
from offhook.wire.signature import webhook_key

HeadersLike = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

_key = lru_cache(maxsize=16)(webhook_key)
_incoming_decoder = msgspec.json.Decoder(RealtimeCallIncoming)


class Webhooks:
    """Verifies and reads webhooks. Nothing here waits: it is the same for both clients."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    def check_secret(self) -> None:
        """Return when webhooks can be verified without being given a secret. Raises ConfigError."""
        if not self._secret:
            mend = "set OPENAI_WEBHOOK_SECRET=whsec_... to the secret of the webhook, or give webhook_secret"
            raise ConfigError("webhook_secret", "is not set, and a webhook without a signature is anybody's", mend)
        _key(self._secret)

    def unwrap(
        self, payload: str | bytes, headers: HeadersLike, *, secret: str | None = None
    ) -> RealtimeCallIncoming | Other:
        """Return the event of a webhook that is genuine.

        ``payload`` is the body as it came, byte for byte; ``headers`` a mapping with names in any case, or pairs (an
        ASGI scope's). ``secret`` stands in for the client's ``webhook_secret``. An event other than
        ``realtime.call.incoming`` comes as an `Other`. What stands in ``sip_headers`` is the caller's word, not the
        server's.

        Raises InvalidWebhookSignatureError, ValueError without a secret, APIResponseValidationError for what is genuine
        and no event.
        """
        self.verify_signature(payload, headers, secret=secret)
        return read_webhook(payload)

    def verify_signature(
        self,
        payload: str | bytes,
        headers: HeadersLike,
        *,
        secret: str | None = None,
        tolerance: int = WEBHOOK_TOLERANCE_S,
    ) -> None:
        """Return when a webhook is genuine, and not older or newer than ``tolerance`` (300) seconds.

        Raises InvalidWebhookSignatureError when it is not, ValueError without a secret.
        """
        given = self._secret if secret is None else secret
        if given is None:
            raise ValueError(
                "The webhook secret must either be set on the client, by webhook_secret or OPENAI_WEBHOOK_SECRET, "
                "or be given as secret"
            )
        check_webhook(_key(given), payload, headers, now_s=time.time(), tolerance_s=tolerance)


def check_webhook(key: bytes, payload: str | bytes, headers: HeadersLike, *, now_s: float, tolerance_s: float) -> None:
    """Raise InvalidWebhookSignatureError unless one of the signatures is ``key``'s and the time is about ``now_s``."""
    signatures = _header(headers, "webhook-signature")
    timestamp = _header(headers, "webhook-timestamp")
    webhook_id = _header(headers, "webhook-id")
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        raise InvalidWebhookSignatureError("The webhook timestamp is not a number of seconds")
    if now_s - int(timestamp) > tolerance_s:
        raise InvalidWebhookSignatureError("Webhook timestamp is too old")
    if int(timestamp) - now_s > tolerance_s:
        raise InvalidWebhookSignatureError("Webhook timestamp is too new")
    body = _bytes(payload) if isinstance(payload, str) else payload
    digest = hmac.digest(key, _bytes(f"{webhook_id}.{timestamp}.") + body, hashlib.sha256)
    expected = base64.b64encode(digest)
    for each in signatures.split():
        # The official package takes one without its version, too; one of another version matches by no chance.
        if hmac.compare_digest(expected, _bytes(each.removeprefix("v1,"))):
            return
    raise InvalidWebhookSignatureError("The given webhook signature does not match")


def read_webhook(payload: str | bytes) -> RealtimeCallIncoming | Other:
    """Return the event of a body. Raises APIResponseValidationError for what is no JSON object."""
    try:
        return _incoming_decoder.decode(payload)
    except msgspec.ValidationError:
        pass
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise APIResponseValidationError("The webhook's body is not JSON.") from None
    try:
        members: Any = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise APIResponseValidationError("The webhook's body is not JSON.") from None
    if not isinstance(members, dict):
        raise APIResponseValidationError("The webhook's body is not an event.")
    return Other(members)


def _header(headers: HeadersLike, name: str) -> str:
    if isinstance(headers, Mapping):
        value = headers.get(name)
        if value is not None:
            return value
        pairs: Iterable[Any] = headers.items()
    else:
        pairs = headers
    for given, value in pairs:
        if _text(given).lower() == name:
            return _text(value)
    raise InvalidWebhookSignatureError(f"Could not find {name} header")


def _bytes(text: str) -> bytes:
    # Frameworks put halves of surrogate pairs into headers for bytes that are no text.
    return text.encode("utf-8", "surrogatepass")


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
