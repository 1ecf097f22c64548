"""A realtime socket that costs next to nothing, as the upstream of ``relay.py``: the answers are made beforehand.

Every turn is answered at once, in the order of the hosted service: two seconds of a tone as mu-law, in deltas of 200 ms
with a few words each, at four times the pace of speech. It prints its port, and on each line of standard input one line
of JSON: how many answers it gave, and how late it was itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import struct
import sys
import time
from typing import Any, Final

import uvloop

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.tone import tone

ANSWER_MS: Final = 2000
DELTA_MS: Final = 200
PACE: Final = 4
WORDS: Final = "This is what is said. "
LATE_TICK_S: Final = 0.01
_ACCEPT_KEY: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_APPEND: Final = b'{"type":"input_audio_buffer.append"'
# Nobody sends more than this at once here: a longer frame is a mistake.
_MAX_FRAME: Final = 1 << 20


def frame(event: dict[str, Any]) -> bytes:
    """Return an event as a server sends it: unmasked (RFC 6455 section 5.2)."""
    text = json.dumps(event, separators=(",", ":")).encode()
    size = len(text)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")) + text


def deltas() -> list[str]:
    """Return the sound of an answer."""
    audio = g711.encode(tone(1, ANSWER_MS, g711.RATE_HZ), Codec.PCMU)
    step = DELTA_MS * 8
    return [base64.b64encode(audio[start : start + step]).decode() for start in range(0, len(audio), step)]


SOUND: Final = deltas()


class Session(asyncio.Protocol):
    """One session: it knows of turns only that they were committed."""

    answers = 0

    def __init__(self) -> None:
        self._data = bytearray()
        self._is_open = False
        self._numbers = 0
        self._speaking: asyncio.TimerHandle | None = None
        self._response: dict[str, Any] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self._stop()

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._is_open and not self._upgrade():
            return
        while (whole := self._frame()) is not None:
            kind, key, body, end = whole
            if kind == 1:
                self._take(key, self._data[body:end])
            elif kind == 9:
                self.transport.write(b"\x8a" + bytes([end - body]) + unmasked(key, self._data[body:end]))
            elif kind == 8:
                self.transport.write(b"\x88\x00")
                self.transport.close()
            del self._data[:end]

    def _upgrade(self) -> bool:
        head, blank, rest = bytes(self._data).partition(b"\r\n\r\n")
        if not blank:
            return False
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        (nonce,) = (value.strip() for name, _, value in lines if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(nonce + _ACCEPT_KEY).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\n\r\n"
        )
        self._is_open, self._data = True, bytearray(rest)
        self._say("session.created", session={"id": "sess_there", "object": "realtime.session"})
        return True

    def _frame(self) -> tuple[int, bytes, int, int] | None:
        """Return the kind, the key and the place of the next frame's content, None when it is not whole."""
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size == 126 and len(data) >= 4:
            (size,), start = struct.unpack_from("!H", data, 2), 4
        elif size == 127 and len(data) >= 10:
            (size,), start = struct.unpack_from("!Q", data, 2), 10
        elif size >= 126:
            return None
        if size > _MAX_FRAME:
            sys.exit(f"a frame of {size} bytes")
        body = start + 4
        return (data[0] & 15, bytes(data[start:body]), body, body + size) if len(data) >= body + size else None

    def _take(self, key: bytes, masked: bytearray) -> None:
        # What was said is not looked at: it is most of what comes.
        if unmasked(key, masked[: len(_APPEND)]) == _APPEND:
            return
        event = json.loads(unmasked(key, masked))
        match event["type"]:
            case "session.update":
                self._say("session.updated", session={"id": "sess_there", "object": "realtime.session"})
            case "input_audio_buffer.commit":
                item = {"id": self._id("item"), "type": "message", "role": "user", "status": "completed", "content": []}
                self._say("input_audio_buffer.committed", item_id=item["id"], previous_item_id=None)
                self._say("conversation.item.added", item=item, previous_item_id=None)
                self._say("conversation.item.done", item=item, previous_item_id=None)
            case "response.create":
                self._answer(event["response"])
            case "response.cancel" if self._speaking is not None:
                self._done("cancelled")

    # -- an answer

    def _answer(self, asked: dict[str, Any]) -> None:
        self._stop()
        Session.answers += 1
        self._response = {"id": self._id("resp"), "object": "realtime.response", "metadata": asked.get("metadata")}
        item = {"id": self._id("item"), "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        place = {"response_id": self._response["id"], "item_id": item["id"], "output_index": 0, "content_index": 0}
        self._say("response.created", response=self._response | {"status": "in_progress", "output": []})
        self._say("response.output_item.added", response_id=self._response["id"], output_index=0, item=item)
        self._say("conversation.item.added", item=item, previous_item_id=None)
        self._say("response.content_part.added", part={"type": "audio", "transcript": ""}, **place)
        self._speak(place, 0, time.monotonic())

    def _speak(self, place: dict[str, Any], number: int, due: float) -> None:
        self._say("response.output_audio_transcript.delta", delta=WORDS, **place)
        self._say("response.output_audio.delta", delta=SOUND[number], **place)
        if number + 1 == len(SOUND):
            self._say("response.output_audio.done", **place)
            self._say("response.output_audio_transcript.done", transcript=WORDS * len(SOUND), **place)
            self._done("completed")
            return
        due += DELTA_MS / 1000 / PACE
        loop = asyncio.get_running_loop()
        self._speaking = loop.call_later(due - time.monotonic(), self._speak, place, number + 1, due)

    def _done(self, status: str) -> None:
        self._stop()
        usage = {"total_tokens": 60, "input_tokens": 20, "output_tokens": 40}
        self._say("response.done", response=self._response | {"status": status, "output": [], "usage": usage})

    def _stop(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()
            self._speaking = None

    def _id(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}_{self._numbers:021d}"

    def _say(self, kind: str, **members: Any) -> None:
        self.transport.write(frame({"type": kind, "event_id": self._id("event")} | members))


def unmasked(key: bytes, data: bytes | bytearray) -> bytes:
    """Return what a client has masked (RFC 6455 section 5.3)."""
    size = len(data)
    mask = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(data, "big") ^ mask).to_bytes(size, "big")


async def watch(late_ms: list[float]) -> None:
    """Note how late a timer of this program is."""
    due = time.monotonic()
    while True:
        due += LATE_TICK_S
        await asyncio.sleep(max(due - time.monotonic(), 0))
        late_ms.append((time.monotonic() - due) * 1000)
        due = max(due, time.monotonic() - LATE_TICK_S)


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Session, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    late_ms: list[float] = []
    watching = asyncio.ensure_future(watch(late_ms))
    while await loop.run_in_executor(None, sys.stdin.readline):
        ordered = sorted(late_ms) or [0.0]
        late_ms.clear()
        print(json.dumps({"answers": Session.answers, "late_p99_ms": ordered[len(ordered) * 99 // 100]}), flush=True)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
