"""A model server of a few lines on a real socket: what it answers is what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.body)
        return value


@dataclass
class Reply:
    """``pieces`` are sent one after the other; ``cut`` drops the connection after them, ``hang`` keeps it open.

    It waits for ``after``. ``again`` is sent over and over behind the pieces, every twentieth of a second.
    """

    pieces: list[bytes]
    status: int = 200
    content_type: str = "text/event-stream"
    cut: bool = False
    hang: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    after: asyncio.Event | None = None
    again: bytes = b""


@dataclass
class ModelHost:
    url: str
    received: list[Received] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serve(answer: Callable[[Received], Reply]) -> AsyncIterator[ModelHost]:
    host = ModelHost("")
    over = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                lines = [line.split(": ", 1) for line in head[1:] if ": " in line]
                headers = {name.lower(): value for name, value in lines}
                if headers.get("transfer-encoding") == "chunked":
                    body = b""
                    while size := int((await reader.readline()).strip(), 16):
                        body += await reader.readexactly(size)
                        await reader.readline()
                    await reader.readline()
                else:
                    body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Received(head[0].split(" ")[1], headers, body)
                host.received.append(request)
                reply = answer(request)
                if reply.after is not None:
                    await reply.after.wait()
                extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
                start = f"HTTP/1.1 {reply.status} X\r\ncontent-type: {reply.content_type}\r\n{extra}"
                writer.write(start.encode() + b"transfer-encoding: chunked\r\n\r\n")
                for piece in reply.pieces:
                    writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    await writer.drain()
                while reply.again and not over.is_set():
                    writer.write(b"%x\r\n%s\r\n" % (len(reply.again), reply.again))
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(over.wait(), 0.05)
                if reply.hang:
                    await over.wait()
                if reply.cut or reply.hang:
                    await writer.drain()
                    break
                writer.write(b"0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(talk(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield host
    finally:
        over.set()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
