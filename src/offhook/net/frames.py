"""WebSocket frames of messages that are whole already (RFC 6455 section 5.2)."""

from __future__ import annotations

from collections.abc import Iterable

_FINAL_TEXT = b"\x81"


def text_frames(texts: Iterable[bytes]) -> bytes:
    """Return messages of UTF-8 text, one behind the other, as a server sends them: unmasked, a frame each."""
    pieces: list[bytes] = []
    for text in texts:
        size_bytes = len(text)
        if size_bytes < 126:
            length = size_bytes.to_bytes(1, "big")
        elif size_bytes < 1 << 16:
            length = b"\x7e" + size_bytes.to_bytes(2, "big")
        else:
            length = b"\x7f" + size_bytes.to_bytes(8, "big")
        pieces += (_FINAL_TEXT, length, text)
    return b"".join(pieces)
