"""An application that accepts every call it is told of; the other end of ``webhook.py``.

    python bench/application.py sdk|raw

``sdk`` is what people write: the official package verifies the webhook and accepts. ``raw`` does the same with nothing
but sockets and hmac, which shows what is the server's own share. It prints its port, then reads from standard input the
API's address, the key and the webhook secret.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from harness import SESSION

Answer = Callable[[bytes, dict[str, str]], Awaitable[None]]


async def serve(answer: Answer) -> int:
    """Take webhooks on a port of its own; each is answered at once, and the call accepted after that."""
    accepting: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                pairs = (line.partition(":") for line in head[1:] if line)
                headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                task = asyncio.ensure_future(answer(body, headers))
                accepting.add(task)
                task.add_done_callback(accepting.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


def with_sdk(base_url: str, key: str, secret: str) -> Answer:
    """The official package."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(api_key=key, base_url=base_url, webhook_secret=secret)

    async def answer(body: bytes, headers: dict[str, str]) -> None:
        event = client.webhooks.unwrap(body, headers)
        await client.realtime.calls.accept(event.data.call_id, **SESSION)  # type: ignore[union-attr, arg-type]

    return answer


def without(base_url: str, key: str, secret: str) -> Answer:
    """Sockets, and nothing else; connections are kept."""
    where = urlsplit(base_url)
    raw_secret = base64.b64decode(secret.removeprefix("whsec_"))
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    payload = json.dumps(SESSION).encode()

    async def answer(body: bytes, headers: dict[str, str]) -> None:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(raw_secret, signed, hashlib.sha256)).decode()
        if not any(hmac.compare_digest(each, f"v1,{expected}") for each in headers["webhook-signature"].split()):
            raise ValueError("a webhook with a wrong signature")
        call_id = json.loads(body)["data"]["call_id"]
        reader, writer = free.pop() if free else await asyncio.open_connection(where.hostname, where.port)
        head = (
            f"POST {where.path}/realtime/calls/{call_id}/accept HTTP/1.1\r\nhost: {where.netloc}\r\n"
            f"authorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
        )
        writer.write(head.encode() + payload)
        status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
        if status != b"200":
            raise ValueError(f"accept was answered {status.decode()}")
        free.append((reader, writer))

    return answer


async def main(kind: str) -> None:
    """Serve until standard input ends."""
    ready: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def answer(body: bytes, headers: dict[str, str]) -> None:
        await (await ready)(body, headers)

    print(await serve(answer), flush=True)
    base_url, key, secret = (await asyncio.to_thread(sys.stdin.readline)).split()
    ready.set_result((with_sdk if kind == "sdk" else without)(base_url, key, secret))
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
