"""A caller on real sockets that writes its own SIP and its own session descriptions, word for word."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import ClassVar

from tests.sip_peer import Caller

from offhook.sip.message import Request, Response, parse_message

PATIENCE_S = 20.0


@dataclass
class RawCaller:
    """One telephone: a port for SIP, one for sound, and the dialog in ``peer``."""

    server: tuple[str, int]
    sip: socket.socket
    rtp: socket.socket
    peer: Caller

    _numbers: ClassVar[itertools.count[int]] = itertools.count(1)

    @property
    def port(self) -> int:
        """Where sound is to be sent."""
        return int(self.rtp.getsockname()[1])

    def describe(self, *lines: str, formats: str = "0", host: str = "127.0.0.1", version: int = 1) -> bytes:
        """A session description; ``lines`` are attributes of its audio line."""
        audio = f"m=audio {self.port} RTP/AVP {formats}"
        head = ("v=0", f"o=- 1 {version} IN IP4 127.0.0.1", "s=-", f"c=IN IP4 {host}", "t=0 0", audio)
        return "".join(f"{line}\r\n" for line in (*head, *lines)).encode("utf-8", "surrogateescape")

    def send(self, data: bytes) -> None:
        self.sip.sendto(data, self.server)

    async def receive(self) -> Request | Response:
        """The next message of the server's."""
        data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sip, 65535), PATIENCE_S)
        return parse_message(data)

    async def final(self, method: str) -> Response:
        """The final response to a request of ours."""
        while True:
            message = await self.receive()
            if isinstance(message, Response) and message.method == method and message.status >= 200:
                return message

    async def request(self, method: str, body: bytes = b"") -> Response:
        """Send the next request and return its final response; that of an INVITE is not acknowledged yet."""
        self.send(self.peer.next(method, body=body))
        response = await self.final(method)
        self.peer.to_tag = self.peer.to_tag or response.to_tag
        return response

    async def call(self, body: bytes, ack_body: bytes = b"") -> Response:
        """Call the server, which is to answer at once, and acknowledge."""
        response = await self.request("INVITE", body)
        if response.status < 300:
            self.send(self.peer.ack(body=ack_body))
        return response

    def hush(self) -> None:
        """Forget the sound that has come so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.rtp.recv(2048)

    async def hear(self) -> bytes:
        """The next packet of sound."""
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.rtp, 2048), PATIENCE_S)


@contextlib.asynccontextmanager
async def raw_caller(server: tuple[str, int]) -> AsyncIterator[RawCaller]:
    """Open the sockets of a telephone on loopback."""
    with contextlib.ExitStack() as stack:
        sip, rtp = (stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
        for opened in (sip, rtp):
            opened.setblocking(False)
            opened.bind(("127.0.0.1", 0))
        here = f"127.0.0.1:{sip.getsockname()[1]}"
        number = next(RawCaller._numbers)
        peer = Caller(
            call_id=f"raw-{number}@{here}",
            cseq=0,
            contact=f"<sip:peer@{here}>",
            via=f"SIP/2.0/UDP {here};rport",
            target=f"sip:agent@{server[0]}:{server[1]}",
        )
        yield RawCaller(server, sip, rtp, peer)
