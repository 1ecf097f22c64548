"""A wire between two servers that a test can cut: it forwards TCP, or swallows what comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Cord:
    port: int = 0
    opened: int = 0
    swallows: bool = False
    """What is sent goes nowhere, and no answer comes."""
    refuses: bool = False
    """A new connection is broken at once."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Break every connection, without a goodbye."""
        for writer in list(self.writers):
            writer.transport.abort()


@contextlib.asynccontextmanager
async def cord_to(host: str, port: int) -> AsyncIterator[Cord]:
    """Listen on a port whose connections lead there."""
    cord = Cord()
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not cord.swallows:
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if cord.refuses:
            writer.transport.abort()
            return
        cord.opened += 1
        far_reader, far_writer = await asyncio.open_connection(host, port)
        ends = {writer, far_writer}
        cord.writers |= ends
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        finally:
            cord.writers -= ends
            for end in ends:
                end.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(join(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    cord.port = server.sockets[0].getsockname()[1]
    try:
        yield cord
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
