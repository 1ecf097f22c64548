"""Clients of sessions without a call; started by ``sockets.py``, one command a line on standard input.

``open N`` opens sessions that say nothing; ``talk SECONDS`` lets all of them send a microphone's audio in pieces of 100
ms (two seconds of a voice, five of silence, each from another place) and listen; ``close`` closes them; ``churn N``
opens and closes sessions one after the other, eight at a time. Each command is answered with a line of JSON.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import struct
import sys
import time
from typing import Any

import uvloop

from offhook.audio.pcm import silence, to_bytes
from offhook.audio.resample import resample
from offhook.testing.voice import voice
from paced_server import PIECE_MS

APPEND_MS = 100
SPOKEN_MS = 2000
CYCLE_MS = 7000
RETRY_S, RETRIES = 0.5, 40


def frame(text: bytes) -> bytes:
    """A masked text frame (RFC 6455 section 5.2); a key of zeros leaves the text as it is."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
    return b"\x81" + length + bytes(4) + text


def microphone() -> list[bytes]:
    """The frames of one cycle."""
    import numpy as np

    spoken = resample(voice(SPOKEN_MS, seed=5), 8000, 24000)
    line = to_bytes(np.concatenate([spoken, silence((CYCLE_MS - SPOKEN_MS) * 24)]))
    step = APPEND_MS * 48
    pieces = [line[start : start + step] for start in range(0, len(line), step)]
    audio = [base64.b64encode(piece) for piece in pieces]
    return [frame(b'{"type":"input_audio_buffer.append","audio":"' + each + b'"}') for each in audio]


class Client(asyncio.Protocol):
    """One socket. How late the pieces of answers came is noted in ``late_ms``."""

    def __init__(self, key: str, late_ms: list[float]) -> None:
        self.key = key
        self.ready = asyncio.get_running_loop().create_future()
        self.gone = asyncio.get_running_loop().create_future()
        self.deltas = 0
        self.errors = 0
        self.place = 0
        self._late_ms = late_ms
        self._data = bytearray()
        self._upgraded = False
        self._due = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        nonce = base64.b64encode(os.urandom(16)).decode()
        request = (
            "GET /v1/realtime?model=gpt-realtime HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: {nonce}\r\nauthorization: Bearer {self.key}\r\n\r\n"
        )
        transport.write(request.encode())

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("no session"))
        if not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._data += data
        if not self._upgraded:
            head, blank, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not blank:
                return
            if head.startswith(b"HTTP/1.1 429"):
                self.transport.close()
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self._upgraded, self._data = True, bytearray(rest)
        place = 0
        while (whole := self._frame(place)) is not None:
            kind, start, end = whole
            if kind == 1:
                self._event(bytes(self._data[start:end]), now)
            elif kind == 9:
                self.transport.write(b"\x8a" + bytes([0x80 | end - start]) + bytes(4) + self._data[start:end])
            elif kind == 8:
                self.transport.close()
            place = end
        del self._data[:place]

    def _frame(self, place: int) -> tuple[int, int, int] | None:
        """Where the next frame's text begins and ends, None when it is not whole."""
        have = len(self._data) - place
        if have < 2:
            return None
        size, start = self._data[place + 1], place + 2
        if size == 126:
            if have < 4:
                return None
            size, start = struct.unpack_from("!H", self._data, place + 2)[0], place + 4
        elif size == 127:
            if have < 10:
                return None
            size, start = struct.unpack_from("!Q", self._data, place + 2)[0], place + 10
        end = start + size
        return (self._data[place] & 15, start, end) if end <= len(self._data) else None

    def _event(self, text: bytes, now: float) -> None:
        if text.startswith(b'{"type":"response.output_audio.delta"'):
            self.deltas += 1
            self._late_ms.append((now - self._due) * 1000)
            self._due += PIECE_MS / 1000
        elif text.startswith(b'{"type":"response.output_audio_transcript.delta"'):
            self._due = float(json.loads(text)["delta"])
        elif text.startswith(b'{"type":"error"'):
            self.errors += 1
        elif text.startswith(b'{"type":"session.created"') and not self.ready.done():
            self.ready.set_result(None)

    def close(self) -> None:
        self.transport.write(b"\x88\x80" + bytes(4))


class Generator:
    """All clients."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._late_ms: list[float] = []
        self._clients: list[Client] = []
        self._frames = microphone()
        self._refused = 0
        self._chance = random.Random(1)

    async def _connect(self) -> Client:
        """Open a session; a server that has no room is asked again."""
        loop = asyncio.get_running_loop()
        for _ in range(RETRIES):
            _, client = await loop.create_connection(lambda: Client(self._key, self._late_ms), "127.0.0.1", self._port)
            try:
                await client.ready
            except ConnectionError:
                self._refused += 1
                await asyncio.sleep(RETRY_S)
            else:
                return client
        raise ConnectionError("no session")

    async def open(self, count: int) -> dict[str, Any]:
        for _ in range(count):
            self._clients.append(await self._connect())
            # Spread over the cycle, as callers are.
            self._clients[-1].place = self._chance.randrange(len(self._frames))
        return {"open": len(self._clients), "refused": self._refused}

    async def talk(self, seconds: float) -> dict[str, Any]:
        self._late_ms.clear()
        cycle = len(self._frames)
        groups = [self._clients[place::10] for place in range(10)]
        own_late_ms: list[float] = []
        began = time.monotonic()
        step = 0
        while time.monotonic() - began < seconds:
            due = began + step * APPEND_MS / 1000 / len(groups)
            await asyncio.sleep(max(due - time.monotonic(), 0))
            own_late_ms.append((time.monotonic() - due) * 1000)
            for client in groups[step % len(groups)]:
                client.transport.write(self._frames[client.place % cycle])
                client.place += 1
            step += 1
        return {
            "late_p99_ms": percentile(own_late_ms, 99),
            "delta_p50_ms": percentile(self._late_ms, 50),
            "delta_p99_ms": percentile(self._late_ms, 99),
            "deltas": len(self._late_ms),
            "errors": sum(client.errors for client in self._clients),
        }

    async def close(self) -> dict[str, Any]:
        for client in self._clients:
            client.close()
        await asyncio.gather(*(client.gone for client in self._clients))
        self._clients.clear()
        return {"open": 0}

    async def churn(self, count: int) -> dict[str, Any]:
        left = iter(range(count))

        async def some() -> None:
            for _ in left:
                client = await self._connect()
                client.transport.write(self._frames[0])
                client.close()
                await client.gone

        await asyncio.gather(*(some() for _ in range(8)))
        return {"churned": count, "refused": self._refused}


def percentile(values: list[float], share: int) -> float:
    """A percentile; 0 of nothing."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) * share // 100, len(ordered) - 1)]


async def serve(port: int, key: str) -> None:
    generator = Generator(port, key)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, *rest = line.split()
        answer = await getattr(generator, name)(*map(int, rest))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), sys.argv[2]))
