"""Client secrets, as the server answers them. Source: API reference, "Client secrets"."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from offhook.client.answer import Answer
from offhook.client.errors import APIResponseValidationError
from offhook.client.other import Other
from offhook.wire.session import Session
from offhook.wire.transcription import TranscriptionSession


class ClientSecret(Struct, frozen=True):
    """A key that lives for minutes, and the session that it opens.

    ``value`` begins with ``ek_`` and may be given to browsers; ``expires_at`` is in Unix seconds. ``session`` is the
    whole effective session, an `Other` where it has a shape that this client does not know.
    """

    value: str
    expires_at: int
    session: Session | TranscriptionSession | Other

    def __repr__(self) -> str:
        return f"ClientSecret(value=(hidden), expires_at={self.expires_at}, session={self.session!r})"


class _SecretBody(Struct):
    value: str
    expires_at: int
    session: msgspec.Raw


_secret_decoder = msgspec.json.Decoder(_SecretBody)
_session_decoders = (msgspec.json.Decoder(Session), msgspec.json.Decoder(TranscriptionSession))


def decode_secret(answer: Answer) -> ClientSecret:
    """Return the client secret of an answer. Raises APIResponseValidationError."""
    try:
        body = _secret_decoder.decode(answer.body)
        return ClientSecret(body.value, body.expires_at, _session(body.session))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as broken:
        # Neither the text nor the cause of the failure may show the secret.
        message = f"The server answered {answer.status} with what is no client secret ({type(broken).__name__})."
        raise APIResponseValidationError(message) from None


def _session(data: msgspec.Raw) -> Session | TranscriptionSession | Other:
    for decoder in _session_decoders:
        try:
            return decoder.decode(data)
        except (msgspec.ValidationError, UnicodeError):
            continue
    return Other(msgspec.json.decode(data))
