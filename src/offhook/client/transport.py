"""What carries requests: the interface for transports of one's own, and what both built-in ones share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from offhook.client import limits
from offhook.client.answer import Answer, Headers
from offhook.client.errors import APIConnectionError, APITimeoutError
from offhook.client.http1 import BrokenAnswerError
from offhook.client.request import Request

if TYPE_CHECKING:
    import ssl


class OpenAnswer(Protocol):
    """An answer whose body is still coming in."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Headers:
        """The headers."""

    def next_chunk(self) -> bytes:
        """Wait for and return the next part of the body; ``b""`` is its end. Raises APIConnectionError."""

    def close(self) -> None:
        """Let the answer go. Its connection is used again only when the body was read whole."""


class AsyncOpenAnswer(Protocol):
    """An answer whose body is still coming in."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def headers(self) -> Headers:
        """The headers."""

    async def next_chunk(self) -> bytes:
        """Wait for and return the next part of the body; ``b""`` is its end. Raises APIConnectionError."""

    async def close(self) -> None:
        """Let the answer go. Its connection is used again only when the body was read whole."""


class Transport(Protocol):
    """Sends requests and brings their answers, of whatever status. It repeats nothing and follows no redirect."""

    def send(self, request: Request, timeout_s: float | None) -> Answer:
        """Return the answer, whole within ``timeout_s``. Raises APIConnectionError, APITimeoutError."""

    def open(self, request: Request, timeout_s: float | None) -> OpenAnswer:
        """Return the answer when its headers are there. Raises APIConnectionError, APITimeoutError."""

    def close(self) -> None:
        """Close all connections."""


class AsyncTransport(Protocol):
    """Like `Transport`, for ``asyncio``. A cancelled ``send`` leaves nothing of its request behind."""

    async def send(self, request: Request, timeout_s: float | None) -> Answer:
        """Return the answer, whole within ``timeout_s``. Raises APIConnectionError, APITimeoutError."""

    async def open(self, request: Request, timeout_s: float | None) -> AsyncOpenAnswer:
        """Return the answer when its headers are there. Raises APIConnectionError, APITimeoutError."""

    async def close(self) -> None:
        """Close all connections."""


CLOSED: Final = "The client is closed."


def default_tls() -> ssl.SSLContext:
    """Return a context that trusts what the system trusts. ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` change that."""
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def not_reached(origin: str, failure: OSError) -> APIConnectionError:
    """Return the error of a connection that did not come to be."""
    return APIConnectionError(f"Cannot connect to {origin}: {failure.strerror or failure}.")


def broken(origin: str, failure: OSError | BrokenAnswerError | None) -> APIConnectionError:
    """Return the error of a connection that broke."""
    why = getattr(failure, "strerror", None) or failure or "it was closed"
    return APIConnectionError(f"The connection to {origin} broke: {why}.")


def too_late(origin: str, timeout_s: float | None) -> APITimeoutError:
    """Return the error of an answer that was not there in time."""
    return APITimeoutError(f"{origin} did not answer within {timeout_s:g} s.")


class Patience(Struct, frozen=True):
    """How long a connection may take to come to be: as long as any, or what is left for its request if that is less.

    ``timeout_s`` is the whole request's time, ``left_s`` what is left of it; None is no end.
    """

    origin: str
    timeout_s: float | None
    left_s: float | None

    @property
    def limit_s(self) -> float:
        """That time."""
        return limits.CONNECT_TIMEOUT_S if self.left_s is None else min(self.left_s, limits.CONNECT_TIMEOUT_S)

    def ended(self) -> APITimeoutError:
        """Return the error of a connection that did not come to be in that time."""
        if self.left_s is None or self.left_s > limits.CONNECT_TIMEOUT_S:
            return APITimeoutError(f"Cannot connect to {self.origin} within {limits.CONNECT_TIMEOUT_S:g} s.")
        return too_late(self.origin, self.timeout_s)
