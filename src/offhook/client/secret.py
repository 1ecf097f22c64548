"""Client secrets, as the server answers them. Source: API reference, "Client secrets"."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from offhook.client.answer import Answer
from offhook.client.errors import APIResponseValidationError
from offhook.client.other import Other
from offhook.wire.session import Session


class ClientSecret(Struct, frozen=True):
    """A key that lives for minutes, and the session that it opens.

    ``value`` begins with ``ek_`` and may be given to browsers; ``expires_at`` is in Unix seconds. ``session`` is the
    whole effective session, an `Other` where it is none of this API's present shape (a transcription session, say).
    """

    value: str
    expires_at: int
    session: Session | Other

    def __repr__(self) -> str:
        return f"ClientSecret(value=(hidden), expires_at={self.expires_at}, session={self.session!r})"


class _SecretBody(Struct):
    value: str
    expires_at: int
    session: msgspec.Raw


_secret_decoder = msgspec.json.Decoder(_SecretBody)
_session_decoder = msgspec.json.Decoder(Session)


def decode_secret(answer: Answer) -> ClientSecret:
    """Return the client secret of an answer. Raises APIResponseValidationError."""
    try:
        body = _secret_decoder.decode(answer.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as broken:
        # Neither the text nor the cause of the failure may show the secret.
        message = f"The server answered {answer.status} with what is no client secret ({type(broken).__name__})."
        raise APIResponseValidationError(message) from None
    try:
        session: Session | Other = _session_decoder.decode(body.session)
    except (msgspec.DecodeError, UnicodeError):
        session = Other(msgspec.json.decode(body.session))
    return ClientSecret(body.value, body.expires_at, session)
