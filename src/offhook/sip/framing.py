"""Cutting a byte stream into SIP messages by Content-Length (RFC 3261 18.3, RFC 5626 3.5.1)."""

from __future__ import annotations

import re

from offhook.sip.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES

PING = b"\r\n\r\n"
_BREAK = b"\r\n"

_CONTENT_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*+:(?:[ \t]|\r\n[ \t])*+([^\r\n]*+)", re.IGNORECASE)


class StreamFramer:
    """Cuts one stream. Any way of splitting the bytes gives the same messages.

    ``broken`` says why the stream cannot be followed any more; the connection is then closed after the last message has
    been answered.
    """

    __slots__ = ("_buffer", "_crlf", "_expected", "_searched", "broken")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._expected = 0
        self._crlf = False
        self.broken: str | None = None

    @property
    def pending_bytes(self) -> int:
        """How much of an unfinished message is held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes from the stream; return the messages that are complete, and ``PING`` for keep-alives.

        When the end of a message cannot be known, its head comes alone and ``broken`` is set, so that it can still be
        answered.
        """
        if self.broken is not None:
            return []
        self._buffer += data
        messages: list[bytes] = []
        while self._buffer and self.broken is None:
            if self._expected:
                if len(self._buffer) < self._expected:
                    break
                self._cut(self._expected, messages)
            elif not self._skip_breaks(messages) or not self._read_head(messages):
                break
        return messages

    def _skip_breaks(self, messages: list[bytes]) -> bool:
        """Take line breaks between messages as keep-alives; False when more bytes are needed to go on."""
        buffer = self._buffer
        while buffer.startswith(_BREAK):
            del buffer[:2]
            if self._crlf:
                self._crlf = False
                messages.append(PING)
            else:
                self._crlf = True
        return bool(buffer) and buffer != b"\r"

    def _read_head(self, messages: list[bytes]) -> bool:
        """Find the end of the header block and from it the length of the message."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(buffer) - 3)
            if len(buffer) > MAX_HEADER_BYTES:
                self._break(f"header block above {MAX_HEADER_BYTES} bytes")
            return False
        self._crlf = False
        head = bytes(buffer[: end + 2])
        if len(head) > MAX_HEADER_BYTES:
            self._break(f"header block above {MAX_HEADER_BYTES} bytes")
            return False
        lengths = {found[1].strip(b" \t") for found in _CONTENT_LENGTH.finditer(head)}
        length = lengths.pop() if len(lengths) == 1 else b""
        if not length.isdigit() or len(length) > 12 or int(length) > MAX_BODY_BYTES:
            messages.append(head + b"\r\n")
            self._break("no usable Content-Length")
            return False
        self._expected = end + 4 + int(length)
        return True

    def _cut(self, size_bytes: int, messages: list[bytes]) -> None:
        messages.append(bytes(self._buffer[:size_bytes]))
        del self._buffer[:size_bytes]
        self._searched = self._expected = 0

    def _break(self, why: str) -> None:
        self.broken = why
        self._buffer.clear()
