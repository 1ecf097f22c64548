"""The HTTP and WebSocket server: uvicorn's protocols on a socket of ours.

Only its protocol classes are used, not its ``Server``: signals, start and stop belong to ``server.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Request
from websockets.protocol import State

from offhook.errors import ConfigError
from offhook.net.either import EitherListener
from offhook.net.frames import ClientFrames, text_frames
from offhook.wire import limits

# Browsers, SDKs and proxies keep connections for a minute; a shorter time makes their next request meet a closed one.
KEEP_ALIVE_S = 75
BACKLOG = 1024
TEXTS = "offhook.texts"
"""The name of the ASGI extension that gives and takes messages of text directly.

``send``, ``write`` and ``offer`` are `_Socket.send_texts`, `_Socket.write_texts` and `_Socket.offer_texts`.
"""


# The headers of nearly all our answers; what has others is left to uvicorn, and so are values that would end a line.
_PLAIN_HEADERS = frozenset((b"content-length", b"content-type", b"x-request-id", b"retry-after", b"x-should-retry"))
_ODD = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What a peer may take its time for, and how many there may be."""

    request_s: float = 30.0
    """A request has to be there whole, its body too: the largest comes in seconds over any line."""
    stalled_s: float = 10.0
    """A peer that takes nothing of what waits for it for so long is gone, or as good as gone."""
    ping_s: float = 20.0
    """How often a WebSocket is pinged, and how long its peer has for the answer."""
    connections: int = 4096
    """Ten sockets for each of 400 calls."""


class _StallWatch:
    """Breaks a connection off whose peer takes nothing of what waits for it."""

    def __init__(self, transport: asyncio.Transport, stalled_s: float) -> None:
        self._transport = transport
        self._stalled_s = stalled_s
        self._left_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        # Whatever waits counts: at the usual limit of 64 KB a stalled reader would be noticed late or never. A TLS
        # transport takes the limit itself for too much, and would never be ready with 0.
        transport.set_write_buffer_limits(high=1)

    def begin(self) -> None:
        """Something waits."""
        self._left_bytes = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._stalled_s, self._check)

    def end(self) -> None:
        """Nothing waits any more, or the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        if self._transport.get_write_buffer_size() >= self._left_bytes:
            self._transport.abort()
        else:
            self.begin()


class _Answer:
    """Takes the ASGI messages of one answer. One that is whole goes out in one piece, any other as it comes."""

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head: Any = None

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start" and self._head is None and not self._cycle.response_started:
            self._head = message
            return
        head, self._head = self._head, None
        if head is not None:
            whole = self._whole(head, message)
            if whole is not None:
                self._write(whole)
                return
            await self._cycle.send(head)
        await self._cycle.send(message)

    def _whole(self, head: Any, message: Any) -> bytes | None:
        """Return the answer as it goes out; None for one that needs more care."""
        cycle = self._cycle
        if (
            message["type"] != "http.response.body"
            or message.get("more_body", False)
            or not cycle.keep_alive
            or cycle.flow.write_paused
            or cycle.disconnected
            or cycle.access_log
            or cycle.default_headers
            or cycle.scope["method"] == "HEAD"
        ):
            return None
        lines, length = [STATUS_LINE[head["status"]]], b""
        for name, value in head["headers"]:
            if name not in _PLAIN_HEADERS:
                return None
            if name == b"content-length":
                length = value
            lines += (name, b": ", value, b"\r\n")
        body: bytes = message.get("body", b"")
        lines += (b"\r\n", body)
        if length != b"%d" % len(body) or any(map(_ODD.search, lines[3:-2:4])):
            return None
        return b"".join(lines)

    def _write(self, whole: bytes) -> None:
        cycle = self._cycle
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.transport.write(whole)
        cycle.message_event.set()
        cycle.on_response()


class _Requests(HttpToolsProtocol):
    """HTTP on one connection, with an end to every wait for the peer."""

    def __init__(self, config: Config, state: ServerState, options: HttpOptions) -> None:
        super().__init__(config, state, {})
        self._options = options
        self._stall: _StallWatch | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._receiving = False
        self._upgraded = False
        self._resting_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._stall = _StallWatch(transport, self._options.stalled_s)
        if len(self.connections) > self._options.connections:
            self._refuse(b"503 Service Unavailable")
        else:
            self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._end_rest()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall is not None:
            self._stall.begin()

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.end()
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        answer = _Answer(cycle)
        super()._start_asgi_task(cycle, lambda scope, receive, _: app(scope, receive, answer))

    # One timer watches all rests of a connection: a new one for each was a fiftieth of what a request costs.

    def on_response_complete(self) -> None:
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._resting_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._watch_rest(self.timeout_keep_alive)

    def _watch_rest(self, left_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._resting_since is None:
            return
        left_s = self._resting_since + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._watch_rest(left_s)
        else:
            super().timeout_keep_alive_handler()

    def _unset_keepalive_if_required(self) -> None:
        self._resting_since = None

    def _end_rest(self) -> None:
        self._resting_since = None
        super()._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Most requests come whole, and need no deadline.
        if self._receiving or self.cycle is None or self.cycle.response_complete:
            self._expect_request()

    def on_message_begin(self) -> None:
        self._receiving = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._receiving = False
        self._got_request()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        self._unwatch()
        self._end_rest()
        super().handle_websocket_upgrade()

    def _expect_request(self) -> None:
        if self._deadline is None and not self._upgraded and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self._options.request_s, self._give_up)

    def _got_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _unwatch(self) -> None:
        self._got_request()
        if self._stall is not None:
            self._stall.end()

    def _give_up(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


class _Socket(WebSocketsSansIOProtocol):
    """A WebSocket whose peer has to read what it is sent.

    Applications find its messages of text among the extensions of their scope, by the name `TEXTS`.
    """

    def __init__(self, options: HttpOptions, **given: Any) -> None:
        super().__init__(**given)
        self._options = options
        self._stall: _StallWatch | None = None
        self._offer: Callable[[bytes], bool] | None = None
        self._client = ClientFrames(limits.MAX_CLIENT_EVENT_BYTES)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.conn.state is State.CONNECTING and not self.close_sent:
            texts: dict[object, object] = {
                "send": self.send_texts,
                "write": self.write_texts,
                "offer": self.offer_texts,
            }
            self.scope["extensions"][TEXTS] = texts

    def offer_texts(self, offer: Callable[[bytes], bool]) -> None:
        """Offer every message of ASCII text as it comes, unless another one waits to be received.

        ``offer`` says whether it takes the message; what it does not take is received as usual, and so are other
        messages. That costs a queue, a task's turn, and two system calls to stop reading and to go on.
        """
        self._offer = offer

    def data_received(self, data: bytes) -> None:
        if not self.handshake_initiated:
            super().data_received(data)
            return
        for is_text, piece in self._client.feed(data):
            if not is_text:
                super().data_received(piece)
            elif self.conn.close_sent is None:  # What comes after the end counts for nothing.
                self._take_text(piece)

    def _take_text(self, text: bytes) -> None:
        if self._offer is not None and self.queue.empty() and text.isascii() and self._offer(text):
            return
        self.curr_msg_data_type = "text"
        self.frames = [text]
        self.send_receive_event_to_app()

    async def send_texts(self, texts: Sequence[bytes]) -> None:
        """Send messages of UTF-8 text in one write. Raises OSError when the socket is closed.

        ``websocket.send`` takes one at a time, as text that it has to encode again.
        """
        if not self.writable.is_set():
            await self.writable.wait()
        if not self.write_texts(texts):
            raise ClientDisconnected

    def write_texts(self, texts: Sequence[bytes]) -> bool:
        """Send them if that can be done at once; say whether it was."""
        if not self.writable.is_set() or self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            return False
        self.transport.write(text_frames(texts))
        return True

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # A refusal is an answer to the upgrade too; the base class tells standard error that there was none.
            self.handshake_complete = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._stall = _StallWatch(self.transport, self._options.stalled_s)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stall is not None:
            self._stall.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall is not None:
            self._stall.begin()

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.end()
        super().resume_writing()


class HttpServer:
    """Serves one ASGI application on one address."""

    def __init__(self, app: Any, options: HttpOptions | None = None) -> None:
        self.options = options or HttpOptions()
        self._config = Config(
            app,
            http=HttpToolsProtocol,
            ws=self._socket,  # type: ignore[arg-type]
            interface="asgi3",
            lifespan="off",
            log_config=None,
            log_level="warning",  # Below that whole upgrade requests are told, with the keys in them.
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws_max_size=limits.MAX_CLIENT_EVENT_BYTES,
            ws_ping_interval=self.options.ping_s,
            ws_ping_timeout=self.options.ping_s,
            ws_per_message_deflate=False,
        )
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._either: EitherListener | None = None

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._state.connections)

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> tuple[str, int]:
        """Listen, with a context for TLS too; returns the address that was bound.

        Raises ConfigError when it is taken or not ours.
        """
        self._config.load()
        try:
            sockets = await self._listen(host, port, context)
        except OSError as failure:
            mend = "choose another port with --http" if port else "choose another address with --http"
            raise ConfigError("--http", f"cannot listen on {host}:{port}: {failure.strerror}", mend) from None
        bound = sockets[0].getsockname()
        for listening in sockets:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound[0], bound[1]

    async def _listen(self, host: str, port: int, context: ssl.SSLContext | None) -> Sequence[Any]:
        if context is None:
            self._server = await asyncio.get_running_loop().create_server(self._protocol, host, port, backlog=BACKLOG)
            return self._server.sockets
        options = self.options
        self._either = EitherListener(self._protocol, context, patience_s=options.request_s, most=options.connections)
        return await self._either.start(host, port, BACKLOG)

    def _protocol(self) -> asyncio.Protocol:
        return _Requests(self._config, self._state, self.options)

    def _socket(self, **given: Any) -> asyncio.Protocol:
        return _Socket(self.options, **given)

    async def stop(self, grace_s: float) -> None:
        """Accept nothing more, let running requests end, then close what is left."""
        if self._server is not None:
            self._server.close()
        if self._either is not None:
            await self._either.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(list(self._state.tasks), timeout=grace_s)
            for task in late:
                task.cancel()
        for connection in list(self._state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                # The first 3.11 forget a TLS connection's protocol when it is closed twice, and fail at it then.
                with contextlib.suppress(AttributeError):
                    transport.abort()
        self._server = self._either = None
