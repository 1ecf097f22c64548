"""What comes back: the plain answer of a transport, and what applications see of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from offhook.client.fields import shown_headers

if TYPE_CHECKING:
    from offhook.client.request import Request

T = TypeVar("T")


class Headers(Mapping[str, str]):
    """The headers of an answer, found by name in any case; several of one name are joined by ``", "``."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs

    def __getitem__(self, name: str) -> str:
        found = self.get_all(name)
        if not found:
            raise KeyError(name)
        return ", ".join(found)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1").lower() for name, _ in self._pairs))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._pairs})

    def __repr__(self) -> str:
        return f"Headers({shown_headers(self)!r})"

    def get_all(self, name: str) -> list[str]:
        """Return all values of a name, in the order they came."""
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for each, value in self._pairs if each.lower() == wanted]


class Answer(Struct, frozen=True):
    """The answer to one request: status, headers and the whole body."""

    status: int
    headers: Headers
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 2xx."""
        return 200 <= self.status < 300

    def parsed_body(self) -> Any:
        """Return the body as JSON where it is some, else as text; None when it is empty."""
        if not self.body.strip():
            return None
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self.body.decode(errors="replace")


class SentRequest:
    """A request as it was sent. Printing it shows no key; ``headers`` has it."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __repr__(self) -> str:
        return repr(self._request)

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self._request.method

    @property
    def url(self) -> str:
        """The whole URL."""
        return self._request.url

    @property
    def headers(self) -> Headers:
        """The headers, by name in any case."""
        return Headers([(name.encode(), value.encode()) for name, value in self._request.headers.items()])

    @property
    def content(self) -> bytes:
        """The body."""
        return self._request.body


class RawResponse(Generic[T]):
    """An answer with everything that belongs to it: what ``with_raw_response`` returns."""

    def __init__(self, answer: Answer, request: Request, retries_taken: int, parse: Callable[[Answer], T]) -> None:
        self._answer = answer
        self._parse = parse
        self.http_request: SentRequest = SentRequest(request)
        """What was sent last."""
        self.retries_taken: int = retries_taken
        """How often it was sent again."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status_code}>"

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        return self._answer.status

    @property
    def headers(self) -> Headers:
        """The headers of the answer."""
        return self._answer.headers

    @property
    def request_id(self) -> str | None:
        """The server's name for the request (``x-request-id``)."""
        return self._answer.headers.get("x-request-id")

    @property
    def content(self) -> bytes:
        """The body."""
        return self._answer.body

    @property
    def text(self) -> str:
        """The body as UTF-8 text."""
        return self._answer.body.decode(errors="replace")

    @property
    def is_closed(self) -> bool:
        """True: the body is here whole."""
        return True

    def json(self) -> Any:
        """Return the body as JSON. Raises msgspec.DecodeError when it is none."""
        return msgspec.json.decode(self._answer.body)

    def parse(self) -> T:
        """Return what the method returns without ``with_raw_response``."""
        return self._parse(self._answer)


class BinaryResponse:
    """An answer that is a text of its own: the SDP of a WebRTC call.

    ``call_id`` is the last segment of ``Location``: the name of the call for all that follows.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __repr__(self) -> str:
        return f"<BinaryResponse {len(self.content)} bytes, call_id={self.call_id!r}>"

    @property
    def headers(self) -> Headers:
        """The headers of the answer."""
        return self._answer.headers

    @property
    def call_id(self) -> str | None:
        """The id of the call that was made; None when the server named none."""
        location = self._answer.headers.get("location", "")
        return location.partition("?")[0].rstrip("/").rpartition("/")[2] or None

    @property
    def content(self) -> bytes:
        """The body."""
        return self._answer.body

    @property
    def text(self) -> str:
        """The body as text: the SDP answer."""
        return self._answer.body.decode(errors="replace")

    def read(self) -> bytes:
        """Return the body."""
        return self._answer.body

    def json(self) -> Any:
        """Return the body as JSON. Raises msgspec.DecodeError when it is none."""
        return msgspec.json.decode(self._answer.body)
