"""WebSocket frames of messages that are whole (RFC 6455 section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from websockets.frames import apply_mask  # type: ignore[attr-defined]

_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_KEY_BYTES: Final = 4
_FIRST_PART: Final = (0x01, 0x02)
_LAST_PART: Final = 0x80
_TO_THE_END: Final = 1 << 63


def text_frames(texts: Iterable[bytes]) -> bytes:
    """Return messages of UTF-8 text, one behind the other, as a server sends them: unmasked, a frame each."""
    pieces: list[bytes] = []
    for text in texts:
        size_bytes = len(text)
        if size_bytes < 126:
            head = bytes((_FINAL_TEXT, size_bytes))
        elif size_bytes < 1 << 16:
            head = b"\x81\x7e" + size_bytes.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size_bytes.to_bytes(8, "big")
        pieces += (head, text)
    return b"".join(pieces)


class ClientFrames:
    """Finds in what a client sends the messages that are one text frame each, as nearly all are.

    Whatever else comes (control frames, messages in parts or of bytes, faults, frames of more than ``most_bytes``) is
    for a parser of all frames, which is given every frame from its beginning and finds the faults.
    """

    __slots__ = ("_in_parts", "_most_bytes", "_needed_bytes", "_passing_bytes", "_rest")

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._rest = bytearray()
        self._needed_bytes = 0
        self._passing_bytes = 0  # So much of what comes next belongs to a frame for the parser.
        self._in_parts = False

    def feed(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """Take what came; yield in order the messages, unmasked (True), and what is for the parser (False).

        All that is yielded has to be taken before the next time.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed_bytes:
                return
            data = bytes(self._rest)
            self._rest.clear()
        place, size_bytes = 0, len(data)
        while place < size_bytes:
            if not self._passing_bytes:
                start, end = _payload(data, place)
                if start > size_bytes:
                    self._keep(data[place:], start - place)
                    return
                if self._is_message(data, place, end - start):
                    if end > size_bytes:
                        self._keep(data[place:], end - place)
                        return
                    place = end
                    yield True, apply_mask(data[start:end], data[start - _KEY_BYTES : start])
                    continue
                self._passing_bytes = end - place if data[place + 1] & _MASKED else _TO_THE_END
            piece = data[place : place + self._passing_bytes]
            self._passing_bytes -= len(piece)
            place += len(piece)
            yield False, piece

    def _keep(self, rest: bytes, needed_bytes: int) -> None:
        self._rest += rest
        self._needed_bytes = needed_bytes

    def _is_message(self, data: bytes, place: int, payload_bytes: int) -> bool:
        first = data[place]
        if first == _FINAL_TEXT and not self._in_parts:
            return bool(data[place + 1] & _MASKED) and payload_bytes <= self._most_bytes
        if first in _FIRST_PART:
            self._in_parts = True
        elif first == _LAST_PART:
            self._in_parts = False
        return False


def _payload(data: bytes, place: int) -> tuple[int, int]:
    """Return where the payload of a frame begins and ends; both lie behind the data while its header is not whole."""
    have_bytes = len(data) - place
    start = place + 2
    if have_bytes < 2:
        return start, start
    size_bytes = data[place + 1]
    if size_bytes & _MASKED:
        start += _KEY_BYTES
        size_bytes -= _MASKED
    if size_bytes >= 126:
        length_bytes = 2 if size_bytes == 126 else 8
        start += length_bytes
        if have_bytes >= start - place:
            size_bytes = int.from_bytes(data[place + 2 : place + 2 + length_bytes], "big")
    return start, start + size_bytes
