"""HTTP/1.1 on one connection, without the connection: requests to bytes, bytes to answers.

llhttp (through httptools) reads; what it is given and what it may fill is bounded here. Source: RFC 9112.
"""

from __future__ import annotations

import httptools

from offhook.client import limits
from offhook.client.answer import Headers
from offhook.client.proxy import Proxy
from offhook.client.request import Request


class BrokenAnswerError(Exception):
    """What came in is no HTTP/1.1 answer, or too much of one."""


def encode_request(request: Request, proxy: Proxy | None = None) -> bytes:
    """Return the bytes of a request, body and all. A proxy that reads it is given the whole URL (RFC 9112 3.2.2)."""
    head = [f"{request.method} {request.target if proxy is None else request.url} HTTP/1.1"]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    if proxy is not None:
        head += [f"{name}: {value}" for name, value in proxy.headers.items()]
    head += [f"content-length: {len(request.body)}", "\r\n"]
    return "\r\n".join(head).encode("ascii") + request.body


class AnswerReader:
    """Reads the answers on one connection, one after the other."""

    __slots__ = (
        "_body_bytes",
        "_head_bytes",
        "_pairs",
        "_parser",
        "chunks",
        "done",
        "fault",
        "has_head",
        "reusable",
        "status",
    )

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Expect the answer to the next request."""
        self._pairs: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._body_bytes = 0
        self.status = 0
        self.chunks: list[bytes] = []
        """Parts of the body that nobody has taken yet."""
        self.has_head = False
        """Status and headers are here."""
        self.done = False
        """The whole answer is here."""
        self.reusable = False
        """The connection may carry another request."""
        self.fault: str | None = None

    @property
    def headers(self) -> Headers:
        """The headers of the answer."""
        return Headers(self._pairs)

    def take_body(self) -> bytes:
        """Return what is here of the body, and forget it."""
        body = b"".join(self.chunks) if len(self.chunks) != 1 else self.chunks[0]
        self.chunks = []
        return body

    def feed(self, data: bytes | memoryview) -> None:
        """Take what came in. Raises BrokenAnswerError; then the connection is of no use any more."""
        if self.done:
            raise BrokenAnswerError("the server sent more than an answer")
        if not self.has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if not self._spent():
                self.fault = "the server changed the protocol"
        except httptools.HttpParserError as broken:
            if not self._spent():
                self.fault = self.fault or f"the server sent no HTTP/1.1: {type(broken).__name__}"
        if self.fault is None and not self.has_head and self._head_bytes > limits.MAX_HEAD_BYTES:
            self.fault = "the server sent too many headers"
        if self.fault is not None:
            raise BrokenAnswerError(self.fault)

    def end(self) -> None:
        """The server closed the connection: the end of a body that has no other. Raises BrokenAnswerError."""
        if self.done:
            return
        if not self.has_head:
            raise BrokenAnswerError("the server closed the connection without an answer")
        if any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in self._pairs):
            raise BrokenAnswerError("the server closed the connection within its answer")
        self.done = True

    def _spent(self) -> bool:
        # What comes behind a whole answer was not asked for: that stands as it is, and the connection carries no other.
        if self.done:
            self.reusable = False
        return self.done

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Take the beginning of an answer, asked for or not."""
        self._spent()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; of a body's trailers nobody has a use."""
        if not self._spent() and not self.has_head:
            self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        """Take the status."""
        if self._spent():
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self.has_head = True
        elif status == 101:
            self.fault = "the server changed the protocol"

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        if self._spent():
            return
        self._body_bytes += len(data)
        if self._body_bytes > limits.MAX_BODY_BYTES:
            self.fault = "the server's answer is too large"
        else:
            self.chunks.append(data)

    def on_message_complete(self) -> None:
        """Take the end: of an interim answer (RFC 9110 15.2), which says nothing, or of the answer."""
        if self._spent():
            return
        if self.has_head:
            self.done = True
            self.reusable = self._parser.should_keep_alive()
        else:
            self._pairs = []
