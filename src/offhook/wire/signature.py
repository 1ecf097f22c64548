"""Standard Webhooks signatures: what the server signs and what a client verifies.

Source: Standard Webhooks specification; API reference, "Webhooks".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

from offhook.errors import ConfigError

PREFIX = "whsec_"


def webhook_key(secret: str) -> bytes:
    """Return the signing key of a secret: the decoded part after ``whsec_``, or a bare secret's UTF-8 bytes.

    Raises ConfigError for a secret that is empty or not base64 after its prefix.
    """
    if not secret.startswith(PREFIX):
        if not secret:
            raise ConfigError("webhook_secret", "is empty", "give a secret that begins with whsec_")
        return secret.encode()
    try:
        key = base64.b64decode(secret[len(PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("webhook_secret", "is not base64 after whsec_") from None
    if not key:
        raise ConfigError("webhook_secret", "is empty after whsec_")
    return key


def sign_webhook(keys: Iterable[bytes], webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the ``webhook-signature`` header: one ``v1`` signature for each key, split by blanks."""
    signed = f"{webhook_id}.{timestamp_s}.".encode() + body
    digests = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
