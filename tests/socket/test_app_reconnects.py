"""Servers that take a socket and close it again: an application dials them a few times, and not for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.core.test_app_webhooks import SECRET, event, post, run
from tests.scripted_transport import AsyncScripted
from websockets.asyncio.server import ServerConnection, serve

import offhook
from offhook.app import limits

PAUSES_S = (0.0, 0.0, 0.0)
Closing = Callable[[ServerConnection, int], Awaitable[None]]


def end_of_call(close: Closing, api_key: Any = "sk-test") -> tuple[offhook.CallEnded, int, list[str]]:
    """Answer a call on a server that closes sockets so; return its end, the sockets and the requests there were."""
    transport = AsyncScripted()
    ends: list[offhook.CallEnded] = []
    sockets: list[ServerConnection] = []

    async def serve_one(socket: ServerConnection) -> None:
        sockets.append(socket)
        await close(socket, len(sockets))

    async def test() -> None:
        async with serve(serve_one, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = offhook.AsyncClient(
                api_key=api_key,
                webhook_secret=SECRET,
                base_url="http://127.0.0.1:9/v1",
                websocket_base_url=f"ws://127.0.0.1:{port}/v1",
                transport=transport,
            )
            app = offhook.App(client=client)

            @app.incoming
            async def take(call: offhook.IncomingCall) -> None:
                session = await call.accept()
                ends.append(await session.wait_ended())

            assert await post(app, event()) == 200
            await app.close()

    run(test())
    return ends[0], len(sockets), [each.target.rpartition("/")[2] for each in transport.requests]


@pytest.mark.parametrize("first", [[], ['{"type": "session.created", "event_id": "e", "session": {}}']])
def test_a_server_that_takes_sockets_and_closes_them_at_once_is_not_dialled_for_ever(
    monkeypatch: pytest.MonkeyPatch, first: list[str]
) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", PAUSES_S)
    monkeypatch.setattr(limits, "STEADY_S", 3600.0)

    async def close(socket: ServerConnection, number: int) -> None:
        for text in first:
            await socket.send(text)
        await socket.close(1011, "the proxy has lost its server")

    end, sockets, requests = end_of_call(close)
    assert (end.result, sockets) == ("lost", 1 + len(PAUSES_S))
    assert requests == ["accept", "hangup"]


def test_connections_that_lived_a_while_do_not_use_up_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", PAUSES_S)
    monkeypatch.setattr(limits, "STEADY_S", 0.0)

    async def close(socket: ServerConnection, number: int) -> None:
        await socket.close(1011 if number < 9 else 1000)

    end, sockets, requests = end_of_call(close)
    assert (end.result, sockets) == ("unknown", 9)
    assert requests == ["accept"]


def test_a_reader_that_fell_behind_after_a_while_may_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", PAUSES_S)
    monkeypatch.setattr(limits, "STEADY_S", 0.0)

    async def close(socket: ServerConnection, number: int) -> None:
        await socket.close(1008 if number == 1 else 1000, "The events were not read fast enough.")

    end, sockets, requests = end_of_call(close)
    assert (end.result, sockets) == ("unknown", 2)
    assert requests == ["accept"]


def test_a_server_that_does_not_want_the_client_is_not_dialled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STEADY_S", 3600.0)

    async def close(socket: ServerConnection, number: int) -> None:
        await socket.close(1008, "the key was revoked")

    end, sockets, requests = end_of_call(close)
    assert (end.result, end.by, sockets) == ("lost", "server", 1)
    assert "the key was revoked" in end.reason
    assert requests == ["accept", "hangup"]


def test_a_key_that_cannot_be_had_any_more_loses_the_call_and_not_its_handler(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", PAUSES_S)
    keys = ["sk-test"] * 2

    def key() -> str:
        if not keys:
            raise PermissionError("the vault is closed")
        return keys.pop()

    async def close(socket: ServerConnection, number: int) -> None:
        await socket.close(1011)

    end, sockets, requests = end_of_call(close, key)
    assert (end.result, sockets) == ("lost", 1)
    assert requests == ["accept"]
    assert "the vault is closed" in caplog.text


def test_a_call_that_cannot_be_ended_for_want_of_a_key_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    keys = ["sk-test"]

    def key() -> str:
        if not keys:
            raise PermissionError("the vault is closed")
        return keys.pop()

    async def test() -> None:
        client = offhook.AsyncClient(
            api_key=key, webhook_secret=SECRET, base_url="http://127.0.0.1:9/v1", transport=AsyncScripted()
        )
        app = offhook.App(client=client)

        @app.incoming
        async def take(call: offhook.IncomingCall) -> None:
            await call.accept()

        assert await post(app, event()) == 200
        await app.close()

    run(test())
    assert "could not be ended: the vault is closed" in caplog.text
