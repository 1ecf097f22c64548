"""Answers whose body is read as it comes: what ``with_streaming_response`` gives inside its ``with``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from offhook.client.answer import Answer, Headers, SentRequest
from offhook.client.request import Request
from offhook.client.transport import AsyncOpenAnswer, OpenAnswer

T = TypeVar("T")


class _Streamed:
    """What both kinds have in common."""

    def __init__(self, opened: OpenAnswer | AsyncOpenAnswer, request: Request, retries_taken: int) -> None:
        self.status_code: int = opened.status
        """The HTTP status."""
        self.headers: Headers = opened.headers
        """The headers of the answer."""
        self.http_request: SentRequest = SentRequest(request)
        """What was sent last."""
        self.retries_taken: int = retries_taken
        """How often it was sent again."""
        self.is_closed: bool = False
        """Whether the answer was let go."""
        self._body: bytes | None = None

    def _check_open(self) -> None:
        if self.is_closed:
            raise ValueError("the answer was let go before it was read: read it within its with")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status_code}>"

    @property
    def request_id(self) -> str | None:
        """The server's name for the request (``x-request-id``)."""
        return self.headers.get("x-request-id")


class StreamedResponse(_Streamed, Generic[T]):
    """An answer while it comes in. Read its body once, by ``read``, ``parse`` or ``iter_bytes``."""

    def __init__(self, opened: OpenAnswer, request: Request, retries_taken: int, parse: Callable[[Answer], T]) -> None:
        super().__init__(opened, request, retries_taken)
        self._opened = opened
        self._parse = parse

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield the body as it comes in.

        Raises APIConnectionError when it breaks off, ValueError when the answer was let go.
        """
        self._check_open()
        while chunk := self._opened.next_chunk():
            yield chunk

    def read(self) -> bytes:
        """Return the whole body."""
        if self._body is None:
            self._body = b"".join(self.iter_bytes())
        return self._body

    def text(self) -> str:
        """Return the whole body as UTF-8 text."""
        return self.read().decode(errors="replace")

    def json(self) -> Any:
        """Return the whole body as JSON. Raises msgspec.DecodeError when it is none."""
        return msgspec.json.decode(self.read())

    def parse(self) -> T:
        """Return what the method returns without ``with_streaming_response``."""
        return self._parse(Answer(self.status_code, self.headers, self.read()))

    def close(self) -> None:
        """Let the answer go; the end of the ``with`` does so too."""
        if not self.is_closed:
            self.is_closed = True
            self._opened.close()


class StreamManager(Generic[T]):
    """Sends the request when its ``with`` begins, and lets the answer go when it ends."""

    def __init__(self, begin: Callable[[], StreamedResponse[T]]) -> None:
        self._begin = begin
        self._response: StreamedResponse[T] | None = None

    def __enter__(self) -> StreamedResponse[T]:
        self._response = self._begin()
        return self._response

    def __exit__(self, *_: object) -> None:
        if self._response is not None:
            self._response.close()


class AsyncStreamedResponse(_Streamed, Generic[T]):
    """An answer while it comes in. Read its body once, by ``read``, ``parse`` or ``iter_bytes``."""

    def __init__(
        self, opened: AsyncOpenAnswer, request: Request, retries_taken: int, parse: Callable[[Answer], T]
    ) -> None:
        super().__init__(opened, request, retries_taken)
        self._opened = opened
        self._parse = parse

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes in.

        Raises APIConnectionError when it breaks off, ValueError when the answer was let go.
        """
        self._check_open()
        while chunk := await self._opened.next_chunk():
            yield chunk

    async def read(self) -> bytes:
        """Return the whole body."""
        if self._body is None:
            self._body = b"".join([chunk async for chunk in self.iter_bytes()])
        return self._body

    async def text(self) -> str:
        """Return the whole body as UTF-8 text."""
        return (await self.read()).decode(errors="replace")

    async def json(self) -> Any:
        """Return the whole body as JSON. Raises msgspec.DecodeError when it is none."""
        return msgspec.json.decode(await self.read())

    async def parse(self) -> T:
        """Return what the method returns without ``with_streaming_response``."""
        return self._parse(Answer(self.status_code, self.headers, await self.read()))

    async def close(self) -> None:
        """Let the answer go; the end of the ``async with`` does so too."""
        if not self.is_closed:
            self.is_closed = True
            await self._opened.close()


class AsyncStreamManager(Generic[T]):
    """Sends the request when its ``async with`` begins, and lets the answer go when it ends."""

    def __init__(self, begin: Callable[[], Awaitable[AsyncStreamedResponse[T]]]) -> None:
        self._begin = begin
        self._response: AsyncStreamedResponse[T] | None = None

    async def __aenter__(self) -> AsyncStreamedResponse[T]:
        self._response = await self._begin()
        return self._response

    async def __aexit__(self, *_: object) -> None:
        if self._response is not None:
            await self._response.close()
