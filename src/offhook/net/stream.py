"""One TCP connection that carries SIP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol, cast

from offhook.sip.flow import Flow
from offhook.sip.framing import StreamFramer


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one connection may take; see SipTransportOptions."""

    idle_timeout_s: float
    unused_timeout_s: float
    first_message_timeout_s: float
    write_buffer_bytes: int


class StreamOwner(Protocol):
    """Who is told of a connection's life."""

    def stream_opened(self, stream: Stream, remote: tuple[str, int], /) -> bool:
        """The connection is there; False refuses it."""

    def stream_in_use(self, stream: Stream, /) -> bool:
        """Whether calls need the connection."""

    def stream_received(self, stream: Stream, messages: list[bytes], /) -> None:
        """Whole messages came."""

    def stream_closed(self, stream: Stream, /) -> None:
        """The connection is gone."""


class Stream(asyncio.Protocol):
    """Frames what comes in, and closes the connection when it idles, cannot be followed, or is not read."""

    def __init__(self, serial: int, limits: StreamLimits, owner: StreamOwner, *, outgoing: bool) -> None:
        self.serial = serial
        self.outgoing = outgoing
        self.flow: Flow | None = None
        self.broken = ""
        self._limits = limits
        self._owner = owner
        self._framer = StreamFramer()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._opened_at = self._active_at = 0.0
        self._has_spoken = outgoing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is there."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        remote = transport.get_extra_info("peername")
        if not remote or not self._owner.stream_opened(self, remote[:2]):
            self._transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        self._active_at = asyncio.get_running_loop().time()
        messages = self._framer.feed(data)
        if messages:
            self._has_spoken = True
            self._owner.stream_received(self, messages)
        if self._framer.broken is not None and self._transport is not None:
            self.broken = self._framer.broken
            # close() and not abort(): what was answered to the last message still goes out.
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._owner.stream_closed(self)

    def send(self, data: bytes) -> None:
        """Write, or drop the connection when the peer leaves too much unread."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() + len(data) > self._limits.write_buffer_bytes:
            self.broken = "not read by the peer"
            transport.abort()
            return
        self._active_at = asyncio.get_running_loop().time()
        transport.write(data)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._opened_at = self._active_at = loop.time()
        self._timer = loop.call_later(self._left_s(), self._check_idle)

    def _check_idle(self) -> None:
        loop = asyncio.get_running_loop()
        if self._transport is None:
            return
        left_s = self._left_s()
        if left_s <= 0:
            self.broken = "" if self._has_spoken else "never sent a message"
            self._transport.abort()
            return
        self._timer = loop.call_later(left_s, self._check_idle)

    def _left_s(self) -> float:
        """How long the connection may stay as it is, at least, without having to be looked at again."""
        limits, now = self._limits, asyncio.get_running_loop().time()
        if not self._has_spoken:
            left_s = self._opened_at + limits.first_message_timeout_s - now
            # It may speak and fall silent before that.
            return min(left_s, limits.unused_timeout_s)
        silent_s = now - self._active_at
        left_s = limits.unused_timeout_s - silent_s
        if left_s <= 0 and self._owner.stream_in_use(self):
            # The call may end before the time of a used one is up.
            left_s = min(limits.idle_timeout_s - silent_s, limits.unused_timeout_s)
        return left_s
