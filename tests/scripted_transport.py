"""A transport of one's own, as an application may write one: what it answers is what the test says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from offhook.client.answer import Answer, Headers
from offhook.client.errors import APIConnectionError
from offhook.client.surroundings import Surroundings
from offhook.types import Request

Outcome = Answer | APIConnectionError


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    """An answer; underscores in header names are dashes."""
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Answer(status, Headers(pairs), body)


class Opened:
    """An answer whose body comes in pieces of four bytes."""

    def __init__(self, whole: Answer) -> None:
        self.status = whole.status
        self.headers = whole.headers
        self.closed = False
        self._rest = whole.body

    def next_chunk(self) -> bytes:
        chunk, self._rest = self._rest[:4], self._rest[4:]
        return chunk

    def close(self) -> None:
        self.closed = True


class AsyncOpened(Opened):
    async def next_chunk(self) -> bytes:  # type: ignore[override]
        return super().next_chunk()

    async def close(self) -> None:  # type: ignore[override]
        super().close()


@dataclass
class Scripted:
    """Gives its outcomes one after the other, and the last one for ever."""

    outcomes: list[Outcome] = field(default_factory=lambda: [answer()])
    requests: list[Request] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    closed: bool = False

    @property
    def request(self) -> Request:
        """The only request there was."""
        (one,) = self.requests
        return one

    def _next(self, request: Request, timeout_s: float | None) -> Answer:
        self.requests.append(request)
        self.timeouts.append(timeout_s)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, APIConnectionError):
            raise outcome
        return outcome

    def send(self, request: Request, timeout_s: float | None) -> Answer:
        return self._next(request, timeout_s)

    def open(self, request: Request, timeout_s: float | None) -> Any:
        self.opened.append(Opened(self._next(request, timeout_s)))
        return self.opened[-1]

    def close(self) -> None:
        self.closed = True


class AsyncScripted(Scripted):
    async def send(self, request: Request, timeout_s: float | None) -> Answer:  # type: ignore[override]
        return self._next(request, timeout_s)

    async def open(self, request: Request, timeout_s: float | None) -> Any:
        self.opened.append(AsyncOpened(self._next(request, timeout_s)))
        return self.opened[-1]

    async def close(self) -> None:  # type: ignore[override]
        self.closed = True


@dataclass
class Jump:
    """Time that passes when somebody sleeps, and chance that is always the same."""

    unix_s: float = 1_800_000_000.0
    chance: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.unix_s += seconds

    async def pause(self, seconds: float) -> None:
        self.sleep(seconds)

    def surroundings(self) -> Surroundings:
        take: Callable[[], float] = lambda: self.chance  # noqa: E731
        return Surroundings(self.sleep, self.pause, take, lambda: self.unix_s)
