"""Server-sent events, as far as model servers use them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

# One event of a chat stream has a few hundred bytes; a server that sends megabytes without a line end is broken.
MAX_LINE_BYTES = 1024 * 1024


class SseError(ValueError):
    """The stream is not made of lines of bearable length."""


async def data_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the ``data`` of every event, whatever the chunks. Raises SseError for an endless line."""
    buffer = b""
    async for chunk in chunks:
        buffer += chunk
        *lines, buffer = buffer.replace(b"\r\n", b"\n").split(b"\n")
        if len(buffer) > MAX_LINE_BYTES:
            raise SseError(f"a line of more than {MAX_LINE_BYTES} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()
    if buffer.startswith(b"data:"):
        yield buffer[5:].strip()
