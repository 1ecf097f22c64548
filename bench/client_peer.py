"""The server of ``client.py``: 200 for everything at once, and sockets that send events as fast as they are taken.

    python bench/client_peer.py EVENTS

Prints the ports of both.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

ANSWER = b"HTTP/1.1 200 OK\r\nx-request-id: req_1\r\ncontent-length: 0\r\n\r\n"
IDS = '"event_id":"event_abcdefghijklmnopqrstu","response_id":"resp_abcdefghijklmnopqrstu"'
ITEM = '"item_id":"item_abcdefghijklmnopqrstu"'
EVENTS = (
    (
        f'{{"type":"response.output_audio_transcript.delta",{IDS},{ITEM},"output_index":0,"content_index":0,'
        '"delta":" appointment","obfuscation":"abcdefg"}'
    ),
    f'{{"type":"input_audio_buffer.speech_started","event_id":"event_abcdefghijklmnopqrstu","audio_start_ms":1000,{ITEM}}}',
    (
        f'{{"type":"response.function_call_arguments.delta",{IDS},{ITEM},"output_index":0,"call_id":"call_abcdefghijklmnop",'
        '"delta":"{\\"day\\"","obfuscation":"abcdefg"}'
    ),
    (
        '{"type":"conversation.item.added","event_id":"event_abcdefghijklmnopqrstu","previous_item_id":null,"item":{"id":'
        '"item_abcdefghijklmnopqrstu","type":"message","status":"in_progress","role":"assistant","content":[]}}'
    ),
)


class Answering(asyncio.Protocol):
    """HTTP without reading it: requests here have bodies of a length that their heads tell."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = self.waiting[:end].lower()
            place = head.find(b"content-length: ")
            size = int(head[place + 16 :].partition(b"\r\n")[0]) if place >= 0 else 0
            if len(self.waiting) < end + 4 + size:
                return
            self.waiting = self.waiting[end + 4 + size :]
            self.transport.write(ANSWER)


async def main(count: int) -> None:
    """Serve until the end."""

    async def talk(socket: ServerConnection) -> None:
        async for _ in socket:
            for number in range(count):
                await socket.send(EVENTS[number % len(EVENTS)])

    http = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
    async with serve(talk, "127.0.0.1", 0, compression=None) as sockets:
        ports = [http.sockets[0].getsockname()[1], next(iter(sockets.sockets)).getsockname()[1]]
        print(*ports, flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
