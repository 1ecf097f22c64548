"""A WebSocket that gives its messages to a function, and is written to by one.

The connection of ``websockets`` has a queue, two wake-ups of tasks and a text that is decoded twice between the network
and whoever reads: half of what a relayed call costs. Its protocol, pings and closing are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event, State

FULL_BYTES: Final = 64 * 1024
"""So much may wait in the transport before messages have to wait elsewhere: a second of what a session sends."""


class UpstreamSocket(ClientConnection):
    """Made by ``connect``. Messages that come before ``begin`` wait for it; a long one may come in fragments."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._hear: Callable[[bytes], None] | None = None
        self._early: list[bytes] = []
        self._fragments: list[bytes] = []
        self._ended: asyncio.Future[None] = self.loop.create_future()
        self._failure: Exception | None = None

    def begin(self, hear: Callable[[bytes], None]) -> None:
        """Give every message to ``hear`` from now on, until it raises."""
        self._hear = hear
        early, self._early = self._early, []
        for message in early:
            self._give(message)

    async def ended(self) -> None:
        """Wait for the end of the connection. Raises what ``hear`` raised; who is cancelled in it hears no more."""
        await self._ended
        if self._failure is not None:
            raise self._failure

    @property
    def is_free(self) -> bool:
        """Whether a message can be sent at once."""
        transport = self.transport
        is_open = self.protocol.state is State.OPEN and not transport.is_closing()
        return is_open and transport.get_write_buffer_size() < FULL_BYTES

    def send_now(self, text: bytes) -> None:
        """Send a message, which has to wait for one that ``is_free``. A broken connection swallows it, and ends."""
        self.protocol.send_text(text)
        self.send_data()

    # -- called by the event loop

    def process_event(self, event: Event) -> None:
        """Take what came: data is given away here, all else is the base class's."""
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif not event.fin:
            self._fragments.append(bytes(event.data))
        elif self._fragments:
            whole = b"".join([*self._fragments, event.data])
            self._fragments.clear()
            self._give(whole)
        else:
            self._give(bytes(event.data))

    def _give(self, message: bytes) -> None:
        if self._hear is None:
            self._early.append(message)
        elif not self._ended.done():
            try:
                self._hear(message)
            except Exception as failure:  # raised again by `ended`, where somebody can deal with it
                self._failure = failure
                self._ended.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end."""
        super().connection_lost(exc)
        if not self._ended.done():
            self._ended.set_result(None)
