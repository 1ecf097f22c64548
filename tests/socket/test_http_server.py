"""The HTTP server against peers that do not do their part: nothing of theirs is kept for ever."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from offhook.net.http import TEXTS, HttpOptions, HttpServer

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PATIENCE_S = 20.0
QUICK = HttpOptions(request_s=0.3, stalled_s=0.3, connections=3)
UPGRADE = (
    b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: " + base64.b64encode(b"0" * 16) + b"\r\n\r\n"
)


class App:
    """Answers requests with the length of their body; what ended a request or a socket is kept."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.answer_bytes = 0
        self.message_chars = 10_000
        self.echoes = False
        self.writes_texts = False
        self.takes: Callable[[], bool] | None = None
        self.heard: list[str | bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self.flood(WebSocket(scope, receive, send))
            return
        try:
            body = await Request(scope, receive).body()
        except ClientDisconnect:
            self.ended.put_nowait("broke off")
            return
        await Response(b"x" * self.answer_bytes or str(len(body)))(scope, receive, send)
        self.ended.put_nowait("answered")

    async def flood(self, socket: WebSocket) -> None:
        await socket.accept()
        if self.takes is not None:
            socket.scope["extensions"][TEXTS]["offer"](self.offer)
        try:
            while self.takes is not None:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                self.heard.append(message.get("text") or message["bytes"])
            while self.echoes:
                await socket.send_text(await socket.receive_text())
            texts = [b"x" * self.message_chars]
            while self.writes_texts:
                await socket.scope["extensions"][TEXTS]["send"](texts)
                await asyncio.sleep(0)
            while True:
                await socket.send_text("x" * self.message_chars)
        except (WebSocketDisconnect, OSError):
            self.ended.put_nowait("let go")

    def offer(self, text: bytes) -> bool:
        """Take a message directly if that is wanted now."""
        takes = self.takes is not None and self.takes()
        if takes:
            self.heard.append(text)
        return takes


class Speaker(App):
    """Answers with these headers, and a body in these pieces."""

    def __init__(self, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> None:
        super().__init__()
        self.headers = headers
        self.pieces = pieces

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        for place, piece in enumerate(self.pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": place < len(self.pieces)})


Open = Callable[[], Coroutine[Any, Any, tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@contextlib.asynccontextmanager
async def serving(app: App, options: HttpOptions) -> AsyncIterator[tuple[HttpServer, Open]]:
    server = HttpServer(app, options)
    host, port = await server.start("127.0.0.1", 0)
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        small.setblocking(False)
        await asyncio.get_running_loop().sock_connect(small, (host, port))
        reader, writer = await asyncio.open_connection(sock=small, limit=1024)
        opened.append(writer)
        return reader, writer

    try:
        yield server, connect
    finally:
        for writer in opened:
            writer.transport.abort()
        await server.stop(0.1)


async def gone(server: HttpServer) -> None:
    """Wait until no connection is left; the test's own time-out ends what never does."""
    while server.connections:  # noqa: ASYNC110 - connections set no event
        await asyncio.sleep(0)


def run(
    test: Callable[[App, HttpServer, Open], Coroutine[Any, Any, None]],
    loop: str,
    options: HttpOptions = QUICK,
    app: App | None = None,
) -> None:
    app = app or App()

    async def whole() -> None:
        async with asyncio.timeout(20), serving(app, options) as (server, connect):
            await test(app, server, connect)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(whole())


loops = pytest.mark.parametrize("loop", LOOPS)


@loops
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\nx-a: ",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{",
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\nG",
    ],
)
def test_a_request_that_is_never_finished_is_timed_out(loop: str, sent: bytes) -> None:
    """Idle connections, half headers and half bodies were kept open for ever, without any key."""

    async def test(_: App, server: HttpServer, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(sent)
        answers = await reader.read(-1)
        assert answers.endswith(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        assert answers.startswith(b"HTTP/1.1 200" if sent.startswith(b"GET") else b"HTTP/1.1 408")
        await gone(server)

    run(test, loop)


@loops
def test_a_connection_that_rests_between_requests_is_kept(loop: str) -> None:
    async def test(app: App, _: HttpServer, connect: Open) -> None:
        (reader, writer), (other, _) = await connect(), await connect()
        for body in (b"abc", b"defg"):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            answer = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(1)
            assert answer.endswith(b"%d" % len(body))
            assert await app.ended.get() == "answered"
            # The time that a request may take has passed by for another connection.
            await other.read(-1)

    run(test, loop)


@loops
def test_a_connection_that_rests_for_long_is_closed(loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.net.http.KEEP_ALIVE_S", 1.0)

    async def test(app: App, server: HttpServer, connect: Open) -> None:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
            assert await app.ended.get() == "answered"
        assert await reader.read(-1) == b""
        await gone(server)

    run(test, loop)


@loops
@pytest.mark.parametrize(
    ("method", "headers", "pieces", "body"),
    [
        ("GET", [(b"content-length", b"2")], [b"ab"], b"ab"),
        ("GET", [(b"x-else", b"1"), (b"content-length", b"2")], [b"ab"], b"ab"),
        ("HEAD", [(b"content-length", b"2")], [b"ab"], b""),
        ("GET", [(b"content-length", b"3")], [b"a", b"bc"], b"abc"),
        ("GET", [], [b"ab"], b"2\r\nab\r\n0\r\n\r\n"),
        ("GET", [(b"connection", b"close"), (b"content-length", b"1")], [b"a"], b"a"),
    ],
)
def test_an_answer_goes_out_as_it_was_meant(
    loop: str, method: str, headers: list[tuple[bytes, bytes]], pieces: list[bytes], body: bytes
) -> None:
    """Whole answers go out in one piece, all others take the longer way."""

    async def test(_: App, __: HttpServer, connect: Open) -> None:
        for more in ("connection: close\r\n", ""):
            reader, writer = await connect()
            writer.write(f"{method} / HTTP/1.1\r\nhost: a\r\n{more}\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(len(body)) == body

    run(test, loop, app=Speaker(headers, pieces))


@loops
@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nx-evil: 1", b"a\0"])
def test_a_value_that_would_end_a_header_line_is_never_sent(loop: str, value: bytes) -> None:
    async def test(_: App, __: HttpServer, connect: Open) -> None:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert await reader.read(-1) == b""

    run(test, loop, app=Speaker([(b"x-request-id", value), (b"content-length", b"0")], [b""]))


@loops
def test_a_socket_outlives_the_time_that_a_request_may_take(loop: str) -> None:
    async def test(app: App, server: HttpServer, connect: Open) -> None:
        app.echoes = True
        reader, writer = await connect()
        writer.write(UPGRADE)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        other, _ = await connect()
        assert (await other.read(-1)).startswith(b"HTTP/1.1 408 ")
        writer.write(b"\x81\x81\0\0\0\0a")  # "a" in a text frame, masked with zeros (RFC 6455 5.2)
        assert await reader.readexactly(3) == b"\x81\x01a"

    run(test, loop)


def test_keys_stay_out_of_the_log_however_much_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def test(app: App, server: HttpServer, connect: Open) -> None:
        app.echoes = True
        reader, writer = await connect()
        writer.write(UPGRADE.replace(b"host: a", b"host: a\r\nauthorization: Bearer sk-secret"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.write(b"\x81\x81\0\0\0\0a")
        assert await reader.readexactly(3) == b"\x81\x01a"

    run(test, "asyncio")
    assert "sk-secret" not in caplog.text


@loops
def test_connections_above_the_limit_are_refused(loop: str) -> None:
    async def test(_: App, server: HttpServer, connect: Open) -> None:
        for _ in range(QUICK.connections):
            await connect()
        reader, _ = await connect()
        assert (await reader.read(-1)).startswith(b"HTTP/1.1 503 ")
        assert server.connections <= QUICK.connections

    run(test, loop, replace(QUICK, request_s=PATIENCE_S))


@loops
@pytest.mark.parametrize("writes_texts", [False, True])
def test_a_socket_that_is_not_read_is_let_go(loop: str, writes_texts: bool) -> None:
    """Its writer waited for ever, and the connection stood long after the call."""

    async def test(app: App, server: HttpServer, connect: Open) -> None:
        app.writes_texts = writes_texts
        _, writer = await connect()
        writer.write(UPGRADE)
        assert await app.ended.get() == "let go"
        await gone(server)

    run(test, loop)


@loops
def test_a_peer_that_answers_no_ping_is_closed(loop: str) -> None:
    async def test(app: App, server: HttpServer, connect: Open) -> None:
        app.echoes = True
        reader, writer = await connect()
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"\x89\x04", "a ping with four bytes (RFC 6455 5.5.2)"
        await reader.readexactly(4)
        closing = await reader.read(-1)
        assert (closing[:1], closing[2:4]) == (b"\x88", (1011).to_bytes(2, "big"))
        assert await app.ended.get() == "let go"
        await gone(server)

    run(test, loop, replace(QUICK, ping_s=0.2))


@loops
def test_a_peer_that_closed_is_not_written_to(loop: str) -> None:
    async def test(app: App, server: HttpServer, connect: Open) -> None:
        app.writes_texts = True
        app.message_chars = 10
        reader, writer = await connect()
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x88\x82\0\0\0\0" + (1000).to_bytes(2, "big"))
        sent = b""
        while piece := await reader.read(1000):
            sent += piece
        assert sent.replace(b"\x81\x0a" + b"x" * 10, b"") == b"\x88\x02" + (1000).to_bytes(2, "big")
        assert await app.ended.get() == "let go"
        await gone(server)

    run(test, loop)


@loops
def test_an_answer_that_is_not_read_is_let_go(loop: str) -> None:
    async def test(app: App, server: HttpServer, connect: Open) -> None:
        app.answer_bytes = 20_000_000
        _, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert await app.ended.get() == "answered"
        await gone(server)

    run(test, loop)


@loops
def test_a_slow_reader_is_not_let_go(loop: str) -> None:
    async def test(app: App, _: HttpServer, connect: Open) -> None:
        app.message_chars = 50_000_000
        reader, writer = await connect()
        writer.write(UPGRADE)
        clock = asyncio.get_running_loop().time
        end, read_bytes = clock() + 3 * QUICK.stalled_s, 0
        while clock() < end:
            piece = await reader.read(1000)
            assert piece
            read_bytes += len(piece)
        assert read_bytes < app.message_chars, "all the time there was more than the connection could hold"
        assert app.ended.empty()

    run(test, loop)


def message(text: bytes, first: int = 0x81) -> bytes:
    """A short frame, masked with zeros (RFC 6455 5.2)."""
    return bytes([first, 0x80 | len(text)]) + bytes(4) + text


@loops
def test_messages_keep_their_order_whether_they_are_taken_or_received(loop: str) -> None:
    async def test(app: App, server: HttpServer, connect: Open) -> None:
        answers = iter([True, False, True, True, True])
        app.takes = lambda: next(answers)
        reader, writer = await connect()
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        stream = [
            message(b"taken"),
            message(b"not taken"),
            message(b"behind it"),
            message("wörter".encode()),
            message(b"bytes", 0x82),
            message(b"in p", 0x01),
            message(b"arts", 0x80),
        ]
        writer.write(b"".join(stream))
        while len(app.heard) < 6:  # noqa: ASYNC110 - the test's own time-out ends what never does
            await asyncio.sleep(0)
        assert app.heard == [b"taken", "not taken", "behind it", "wörter", b"bytes", "in parts"]
        writer.write(message(b"taken again"))
        while len(app.heard) < 7:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        assert app.heard[-1] == b"taken again"

    run(test, loop)


@loops
def test_a_message_that_is_no_utf8_closes_the_socket(loop: str) -> None:
    async def test(app: App, server: HttpServer, connect: Open) -> None:
        app.takes = lambda: True
        reader, writer = await connect()
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(message(b"\xff") + message(b"too late"))
        assert (await reader.read(-1))[2:4] == (1007).to_bytes(2, "big")
        await gone(server)
        assert app.heard == []

    run(test, loop)
