"""The socket to an upstream: every message whole, in order, from the first one on, and to the last one sent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve

from offhook.model.relay import Upstream, UpstreamLostError, UpstreamOptions
from offhook.model.upstream_socket import FULL_BYTES
from offhook.session.relay import limits
from offhook.wire.limits import MAX_CLIENT_EVENT_BYTES

Talk = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def upstream(talk: Talk) -> AsyncIterator[Upstream]:
    async with asyncio.timeout(60), serve(talk, "127.0.0.1", 0, max_size=None) as server:
        yield Upstream(UpstreamOptions(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"), "there")


def test_what_comes_with_the_handshake_and_in_fragments_is_heard_whole_and_in_order() -> None:
    heard: list[bytes] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.send("first")
        await socket.send(["in ", "three ", "pieces"])
        await socket.send("x" * 200_000)
        await socket.send("last")
        await socket.close(1011, "enough")

    async def whole() -> None:
        async with upstream(talk) as there:
            with pytest.raises(UpstreamLostError, match="closed with 1011 enough"):
                await there.run(lambda: None, heard.append)

    asyncio.run(whole())
    assert heard == [b"first", b"in three pieces", b"x" * 200_000, b"last"]


def test_what_is_sent_while_the_socket_is_full_goes_after_what_was_sent_before() -> None:
    received: list[str | bytes] = []
    read, all_came = asyncio.Event(), asyncio.Event()
    sent = [str(number).encode() + b" " * FULL_BYTES for number in range(300)]

    async def talk(socket: ServerConnection) -> None:
        await read.wait()
        async for message in socket:
            received.append(message)
            if len(received) == len(sent):
                all_came.set()

    async def whole() -> None:
        async with upstream(talk) as there:
            opened = asyncio.Event()
            running = asyncio.create_task(there.run(opened.set, lambda _: None))
            try:
                await opened.wait()
                for text in sent:
                    assert there.send(text)
                assert there._unsent, "more than the socket takes at once"
                read.set()
                await all_came.wait()
                assert there.send(b"and one more")
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(whole())
    assert received[: len(sent)] == [text.decode() for text in sent]


def test_who_fails_at_a_message_hears_no_further_one_and_is_told() -> None:
    heard: list[bytes] = []

    def hear(message: bytes) -> None:
        heard.append(message)
        raise ValueError("no message")

    async def talk(socket: ServerConnection) -> None:
        for _ in range(3):
            await socket.send("one more")
        await socket.wait_closed()

    async def whole() -> None:
        async with upstream(talk) as there:
            with pytest.raises(ValueError, match="no message"):
                await there.run(lambda: None, hear)

    asyncio.run(whole())
    assert heard == [b"one more"]


@pytest.mark.parametrize(
    ("size_bytes", "end"),
    [(MAX_CLIENT_EVENT_BYTES + 1000, "closed with 1000$"), (limits.MAX_MESSAGE_BYTES + 1, "left with 1009")],
    ids=["comes back", "is too long"],
)
def test_the_largest_item_that_a_client_can_send_may_come_back(size_bytes: int, end: str) -> None:
    """Symptom: after a picture of 9 MB a conversation lost every connection, each time that the picture came back."""
    heard: list[int] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.send("x" * size_bytes)
        await socket.close()

    async def whole() -> None:
        async with upstream(talk) as there:
            with pytest.raises(UpstreamLostError, match=end):
                await there.run(lambda: None, lambda message: heard.append(len(message)))

    asyncio.run(whole())
    assert heard == ([size_bytes] if size_bytes < limits.MAX_MESSAGE_BYTES else [])
