"""Client secrets: who may open a session until when, and with what it begins. They are kept in memory only."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from offhook.call.tokens import TokenStream
from offhook.errors import ApiProblem
from offhook.host.project import Project, digest_key
from offhook.wire import limits
from offhook.wire.ids import Ids
from offhook.wire.session import SessionParams
from offhook.wire.transcription import TranscriptionParams

SecretSession = SessionParams | TranscriptionParams


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """What a secret opens: sessions of one project that begin with ``session``; None opens nothing here."""

    project: Project
    session: SecretSession | None
    expires_at: float
    size_bytes: int


class ClientSecrets:
    """All secrets that have not expired, by the hash of their value."""

    def __init__(self, clock: Callable[[], float], seed: Callable[[], bytes]) -> None:
        self._clock = clock
        self._seed = seed
        self._secrets: dict[bytes, ClientSecret] = {}
        self._expiries: list[tuple[float, bytes]] = []
        self._held_bytes = 0
        self.refused = 0

    def __len__(self) -> int:
        self._forget()
        return len(self._secrets)

    def make(self, project: Project, session: SecretSession | None, life_s: int, size_bytes: int) -> str:
        """Make a secret whose session was given in so many bytes. Raises ApiProblem 429 while there are too many."""
        self._forget()
        full = len(self._secrets) >= limits.MAX_SECRETS or self._held_bytes + size_bytes > limits.MAX_SECRETS_BYTES
        if full:
            self.refused += 1
            message = "There are too many client secrets that have not expired."
            raise ApiProblem(429, "rate_limit_exceeded", message, retry_after_s=limits.MIN_SECRET_S)
        value = Ids(TokenStream(self._seed())).secret()
        expires_at = self._clock() + life_s
        digest = digest_key(value)
        self._secrets[digest] = ClientSecret(project, session, expires_at, size_bytes)
        self._held_bytes += size_bytes
        heapq.heappush(self._expiries, (expires_at, digest))
        return value

    def find(self, value: str) -> ClientSecret | None:
        """Return what a secret opens, None when it never was or has expired."""
        secret = self._secrets.get(digest_key(value))
        return secret if secret is not None and self._clock() < secret.expires_at else None

    def _forget(self) -> None:
        now = self._clock()
        while self._expiries and self._expiries[0][0] <= now:
            self._held_bytes -= self._secrets.pop(heapq.heappop(self._expiries)[1]).size_bytes
