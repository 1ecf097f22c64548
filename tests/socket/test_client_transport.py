"""The client's connections: kept, lost, late, refused, aborted. Both transports, the same tests."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest
from tests.scripted_transport import Jump
from tests.socket.http_peer import EMPTY, PATIENCE_S, HttpPeer, Peer, http_peer
from tests.socket.live import until

import offhook
from offhook.client import limits
from offhook.client.async_transport import AsyncioTransport
from offhook.client.route import Address, in_turn, is_address
from offhook.client.sync_transport import SyncTransport
from offhook.errors import ConfigError

KEY = "sk-test"
TLS = Path(__file__).parents[1] / "data" / "tls"


class Sync:
    """The blocking client, used as the asynchronous one is."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = offhook.Client(**{"api_key": KEY, "base_url": url, "max_retries": 0, **options})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.client.close()

    async def hangup(self, call_id: str = "rtc_1", **options: Any) -> Any:
        return await asyncio.to_thread(self.client.realtime.calls.with_raw_response.hangup, call_id, **options)

    async def stream(self, size: int) -> bytes:
        def read() -> bytes:
            with self.client.realtime.calls.with_streaming_response.create(sdp="v=0") as response:
                chunks = response.iter_bytes()
                seen = b""
                while len(seen) < size and (chunk := next(chunks, b"")):
                    seen += chunk
                return seen

        return await asyncio.to_thread(read)

    async def has_lost_its_connection(self) -> None:
        """Wait until the end of the idle connection has come in."""
        (idle,) = self.client._transport._idle.values()  # type: ignore[attr-defined]
        await until(lambda: not any(wire.is_fresh(wire.idle_since) for wire in idle))


class Async:
    """The asynchronous client."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = offhook.AsyncClient(**{"api_key": KEY, "base_url": url, "max_retries": 0, **options})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def hangup(self, call_id: str = "rtc_1", **options: Any) -> Any:
        return await self.client.realtime.calls.with_raw_response.hangup(call_id, **options)

    async def stream(self, size: int) -> bytes:
        async with self.client.realtime.calls.with_streaming_response.create(sdp="v=0") as response:
            seen = b""
            async for chunk in response.iter_bytes():
                seen += chunk
                if len(seen) >= size:
                    break
            return seen

    async def has_lost_its_connection(self) -> None:
        """Wait until the end of the idle connection has come in."""
        (idle,) = self.client._transport._pool._idle.values()  # type: ignore[attr-defined]
        await until(lambda: all(wire.lost for wire in idle))


BOTH = pytest.mark.parametrize("kind", [Sync, Async])


def run(test: Any) -> Any:
    async def whole() -> Any:
        async with asyncio.timeout(120):
            return await test

    return asyncio.run(whole())


def answer_all(peer: Peer) -> int:
    """Answer every request on a connection; return how many there were."""
    count = 0
    while peer.request():
        peer.say(EMPTY)
        count += 1
    return count


@BOTH
def test_one_connection_carries_many_requests(kind: Any) -> None:
    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            for _ in range(5):
                assert (await one.hangup()).request_id == "req_1"
        assert await asyncio.to_thread(server.end) == 5

    with http_peer(answer_all) as server:
        run(test(server))
        assert server.connections == 1


@BOTH
def test_a_connection_that_the_server_closed_meanwhile_is_not_used(kind: Any) -> None:
    def talk(peer: Peer) -> str:
        peer.request()
        peer.say(EMPTY)
        return "closed"

    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            for _ in range(3):
                await one.hangup()
                await asyncio.to_thread(server.end)
                await one.has_lost_its_connection()

    with http_peer(talk) as server:
        run(test(server))
        assert server.connections == 3


@BOTH
def test_an_answer_that_closes_the_connection_is_an_answer(kind: Any) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello")

    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            assert (await one.hangup()).text == "hello"
            assert (await one.hangup()).text == "hello"

    with http_peer(talk) as server:
        run(test(server))


@BOTH
@pytest.mark.parametrize(
    "part", [b"", b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", b"no http"]
)
def test_a_connection_that_breaks_is_tried_again_and_then_told(kind: Any, part: bytes) -> None:
    def talk(peer: Peer) -> bytes:
        request = peer.request()
        peer.say(part)
        return request

    async def test(server: HttpPeer) -> None:
        async with kind(server.url, max_retries=2) as one:
            jump = Jump()
            one.client._surroundings = jump.surroundings()
            with pytest.raises(offhook.APIConnectionError) as caught:
                await one.hangup()
            assert type(caught.value) is offhook.APIConnectionError
            assert KEY not in str(caught.value)
            assert jump.pauses == [0.5, 1.0]
            # The peer's threads end in any order.
            requests: list[Any] = [await asyncio.to_thread(server.end) for _ in range(3)]
            name = b"x-stainless-retry-count: "
            assert sorted(request.partition(name)[2][:1] for request in requests) == [b"0", b"1", b"2"]

    with http_peer(talk) as server:
        run(test(server))


@BOTH
def test_a_server_that_is_not_there_is_told_apart_from_a_slow_one(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    async def nobody() -> None:
        async with kind(f"http://127.0.0.1:{port}/v1") as one:
            with pytest.raises(offhook.APIConnectionError, match="Cannot connect") as caught:
                await one.hangup()
            assert not isinstance(caught.value, offhook.APITimeoutError)

    async def slow(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            with pytest.raises(offhook.APITimeoutError, match=r"0\.05 s"):
                await one.hangup(timeout=0.05)
            assert await asyncio.to_thread(server.end) is True, "the request was let go"

    def talk(peer: Peer) -> bool:
        peer.request()
        return peer.closed_by_client()

    run(nobody())
    with http_peer(talk) as server:
        run(slow(server))


@BOTH
def test_an_answer_that_trickles_in_does_not_stretch_the_timeout(kind: Any) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            peer.say(b"x")
            if over.wait(0.02):
                break

    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            with pytest.raises(offhook.APITimeoutError):
                await one.hangup(timeout=0.3)

    over = threading.Event()
    with http_peer(talk) as server:
        try:
            run(test(server))
        finally:
            over.set()


@BOTH
def test_a_host_without_an_address_is_a_connection_error(kind: Any) -> None:
    async def test() -> None:
        async with kind("http://nowhere.invalid/v1") as one:
            with pytest.raises(offhook.APIConnectionError, match=r"nowhere\.invalid"):
                await one.hangup()

    run(test())


@BOTH
def test_a_streamed_body_comes_as_it_is_sent(kind: Any) -> None:
    def talk(peer: Peer) -> bool:
        peer.request()
        peer.say(b"HTTP/1.1 201 OK\r\ncontent-length: 10\r\n\r\nhello")
        return peer.closed_by_client()

    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            # The other five bytes never come: what is here is given out, and leaving ends the connection.
            assert await one.stream(5) == b"hello"
            assert await asyncio.to_thread(server.end) is True

    with http_peer(talk) as server:
        run(test(server))


def test_a_streamed_body_that_nobody_reads_is_not_read_for_ever() -> None:
    total = 64 * 1024 * 1024

    def talk(peer: Peer) -> int:
        peer.request()
        peer.say(b"HTTP/1.1 201 OK\r\ncontent-length: %d\r\n\r\nstart" % total)
        said = 5
        peer.connection.settimeout(0.5)
        try:
            while said < total:
                said += peer.connection.send(bytes(65536))
        except OSError:
            pass
        return said

    async def test(server: HttpPeer) -> None:
        async with (
            Async(server.url) as one,
            one.client.realtime.calls.with_streaming_response.create(sdp="v=0") as response,
        ):
            said: Any = await asyncio.to_thread(server.end)
            assert said < total / 2
            assert (await anext(response.iter_bytes()))[:5] == b"start"

    with http_peer(talk) as server:
        run(test(server))


def test_cancelling_the_task_aborts_the_request() -> None:
    arrived = threading.Event()

    def talk(peer: Peer) -> bool:
        peer.request()
        arrived.set()
        return peer.closed_by_client()

    async def test(server: HttpPeer) -> None:
        async with Async(server.url, transport=AsyncioTransport(max_connections=1)) as one:
            for _ in range(2):
                # One of the two waits for the answer, the other for the only connection there may be.
                tasks = [asyncio.create_task(one.hangup()) for _ in range(2)]
                assert await asyncio.to_thread(arrived.wait, PATIENCE_S)
                arrived.clear()
                for task in reversed(tasks):
                    task.cancel()
                assert all(
                    isinstance(end, asyncio.CancelledError)
                    for end in await asyncio.gather(*tasks, return_exceptions=True)
                )
                assert await asyncio.to_thread(server.end) is True

    with http_peer(talk) as server:
        run(test(server))


@pytest.mark.parametrize("kind", [SyncTransport, AsyncioTransport])
def test_more_requests_than_connections_wait_their_turn(kind: Any) -> None:
    async def test(server: HttpPeer) -> None:
        shell: Any = Sync if kind is SyncTransport else Async
        async with shell(server.url, transport=kind(max_connections=3)) as one:
            await asyncio.gather(*(one.hangup() for _ in range(30)))

    with http_peer(answer_all) as server:
        run(test(server))
        assert server.connections <= 3


@BOTH
def test_waiting_for_a_connection_is_within_the_timeout(kind: Any) -> None:
    def talk(peer: Peer) -> bool:
        peer.request()
        arrived.set()
        return peer.closed_by_client()

    async def test(server: HttpPeer) -> None:
        transport = (SyncTransport if kind is Sync else AsyncioTransport)(max_connections=1)
        async with kind(server.url, transport=transport) as one:
            first = asyncio.create_task(one.hangup(timeout=2))
            await asyncio.to_thread(arrived.wait, PATIENCE_S)
            with pytest.raises(offhook.APITimeoutError):
                await one.hangup(timeout=0.05)
            with pytest.raises(offhook.APITimeoutError):
                await first

    arrived = threading.Event()
    with http_peer(talk) as server:
        run(test(server))


def test_threads_share_a_client() -> None:
    with http_peer(answer_all) as server, offhook.Client(api_key=KEY, base_url=server.url) as one:
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda n: one.realtime.calls.with_raw_response.hangup(f"rtc_{n}"), range(200))
            assert {each.status_code for each in answers} == {200}
        assert server.connections <= 8


def test_an_asynchronous_client_outlives_its_event_loop() -> None:
    with http_peer(answer_all) as server:
        one = offhook.AsyncClient(api_key=KEY, base_url=server.url)

        async def use() -> None:
            await one.realtime.calls.hangup("rtc_1")
            # Its connections end with their loop, as everything in it does.
            one._transport._pool.close()  # type: ignore[attr-defined]
            await asyncio.sleep(0)

        for _ in range(2):
            asyncio.run(use())
        assert server.connections == 2


def test_a_client_that_nobody_closed_goes_in_silence() -> None:
    with http_peer(answer_all) as server:
        offhook.Client(api_key=KEY, base_url=server.url).realtime.calls.hangup("rtc_1")
        gc.collect()  # a socket that is left open would be an unraisable warning, which is an error here
        assert server.end() == 1


@BOTH
def test_a_closed_client_says_so(kind: Any) -> None:
    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            await one.hangup()
        with pytest.raises(offhook.APIConnectionError, match="closed"):
            await one.hangup()

    with http_peer(answer_all) as server:
        run(test(server))


def test_closing_a_client_ends_what_waits() -> None:
    def talk(peer: Peer) -> bool:
        peer.request()
        arrived.set()
        return peer.closed_by_client()

    async def test(server: HttpPeer) -> None:
        async with Async(server.url, transport=AsyncioTransport(max_connections=1)) as one:
            tasks = [asyncio.create_task(one.hangup()) for _ in range(3)]
            assert await asyncio.to_thread(arrived.wait, PATIENCE_S)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(end) for end in ends} == {offhook.APIConnectionError}

    arrived = threading.Event()
    with http_peer(talk) as server:
        run(test(server))


@BOTH
def test_tls_is_verified(kind: Any) -> None:
    """A server that shows a certificate of nobody is not spoken to."""

    def talk(peer: Peer) -> bytes:
        return peer.connection.recv(1)

    async def test(server: HttpPeer) -> None:
        async with kind(server.url.replace("http:", "https:")) as one:
            with pytest.raises(offhook.APIConnectionError, match="Cannot connect"):
                await one.hangup(timeout=5)

    with http_peer(talk) as server:
        run(test(server))


@BOTH
def test_tls_carries_requests_to_whom_it_trusts(kind: Any) -> None:
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    trusting = ssl.create_default_context(cafile=TLS / "certificate.pem")

    def talk(peer: Peer) -> int:
        with shown.wrap_socket(peer.connection, server_side=True) as secured:
            return answer_all(Peer(secured))

    async def test(server: HttpPeer) -> None:
        transport = SyncTransport(tls=trusting) if kind is Sync else AsyncioTransport(tls=trusting)
        url = server.url.replace("http:", "https:")
        async with kind(url.replace("127.0.0.1", "localhost"), transport=transport) as one:
            for _ in range(3):
                assert (await one.hangup()).request_id == "req_1"
        assert await asyncio.to_thread(server.end) is not None
        assert server.connections == 1

    with http_peer(talk) as server:
        run(test(server))


@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_long_answer_over_tls_is_whole_when_the_server_closes_behind_it(loop: str, streamed: bool) -> None:
    """All of it is there, and the end as well, before the client reads any."""
    factory = asyncio.new_event_loop if loop == "asyncio" else pytest.importorskip("uvloop").new_event_loop
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    trusting = ssl.create_default_context(cafile=TLS / "certificate.pem")
    # More than a few records of TLS, and less than what the system holds for a connection.
    body = bytes(range(256)) * 250
    asked, stalled, said = threading.Event(), threading.Event(), threading.Event()

    def talk(peer: Peer) -> bytes:
        secured = shown.wrap_socket(peer.connection, server_side=True)
        Peer(secured).request()
        asked.set()
        assert stalled.wait(PATIENCE_S)
        secured.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        with socket.socket(fileno=secured.detach()) as bare:
            bare.shutdown(socket.SHUT_WR)
            said.set()
            bare.settimeout(PATIENCE_S)
            return bare.recv(1)

    async def stall() -> None:
        assert await asyncio.to_thread(asked.wait, PATIENCE_S)
        stalled.set()
        # The event loop reads nothing meanwhile.
        assert said.wait(PATIENCE_S)

    async def test(server: HttpPeer) -> None:
        url = server.url.replace("http:", "https:").replace("127.0.0.1", "localhost")
        async with Async(url, transport=AsyncioTransport(tls=trusting)) as one:
            stalling = asyncio.create_task(stall())
            seen = await one.stream(len(body)) if streamed else (await one.hangup()).content
            await stalling
            assert seen == body

    with http_peer(talk) as server, asyncio.Runner(loop_factory=factory) as runner:
        runner.run(test(server))


@BOTH
@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "tunnel"])
def test_tls_carries_sockets_to_whom_it_trusts(kind: Any, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    trusting = ssl.create_default_context(cafile=TLS / "certificate.pem")

    def talk(peer: Peer) -> bytes:
        if host == "tunnel":
            asked = peer.request()
            assert asked.startswith(b"CONNECT localhost:443 ")
            peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        with shown.wrap_socket(peer.connection, server_side=True) as secured:
            upgrade = Peer(secured).request()
            secured.sendall(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
            return upgrade

    async def test(server: HttpPeer) -> None:
        url = server.url.replace("http:", "https:").replace("127.0.0.1", host)
        if host == "tunnel":
            url = "https://localhost/v1"
            monkeypatch.setenv("https_proxy", server.url.removesuffix("/v1"))
        async with kind(url) as one:
            with pytest.raises(offhook.AuthenticationError):
                await open_socket(one, websocket_connection_options={"ssl": trusting})
        upgrade: Any = await asyncio.to_thread(server.end)
        assert upgrade.startswith(b"GET /v1/realtime?")

    with http_peer(talk) as server:
        run(test(server))


@pytest.mark.usefixtures("no_proxies")
def test_another_event_loop_carries_both_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    uvloop = pytest.importorskip("uvloop")
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    trusting = ssl.create_default_context(cafile=TLS / "certificate.pem")
    large = b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"x" * 100_000

    def talk(peer: Peer) -> None:
        assert peer.request().startswith(b"CONNECT localhost:443 ")
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n")
        with shown.wrap_socket(peer.connection, server_side=True) as secured:
            while b"/hangup" in Peer(secured).request():
                secured.sendall(large)
            secured.sendall(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")

    async def test(server: HttpPeer) -> None:
        monkeypatch.setenv("https_proxy", server.url.removesuffix("/v1").replace("127.0.0.1", "localhost"))
        async with Async("https://localhost/v1", transport=AsyncioTransport(tls=trusting)) as one, asyncio.timeout(60):
            for _ in range(2):
                assert len((await one.hangup()).content) == 100_000
            with pytest.raises(offhook.AuthenticationError):
                await open_socket(one, websocket_connection_options={"ssl": trusting})

    with http_peer(talk) as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test(server))


@BOTH
def test_a_proxy_passes_plain_requests_on(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(peer: Peer) -> bytes:
        request = peer.request()
        peer.say(EMPTY)
        return request

    async def test(server: HttpPeer) -> None:
        monkeypatch.setenv("http_proxy", server.url.replace("//", "//me:word@").removesuffix("/v1"))
        async with kind("http://voice.example:8080/v1") as one:
            await one.hangup()
        request: Any = await asyncio.to_thread(server.end)
        assert request.startswith(b"POST http://voice.example:8080/v1/realtime/calls/rtc_1/hangup HTTP/1.1\r\n")
        assert b"\r\nhost: voice.example:8080\r\n" in request
        assert b"\r\nproxy-authorization: Basic bWU6d29yZA==\r\n" in request

    with http_peer(talk) as server:
        run(test(server))


@BOTH
@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 407 No\r\n\r\n", b""])
def test_a_proxy_carries_tls_without_seeing_a_key(kind: Any, reply: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(TLS / "certificate.pem", TLS / "key.pem")
    trusting = ssl.create_default_context(cafile=TLS / "certificate.pem")

    def talk(peer: Peer) -> bytes:
        asked = peer.request()
        peer.say(reply)
        if b"200" in reply:
            with shown.wrap_socket(peer.connection, server_side=True) as secured:
                answer_all(Peer(secured))
        return asked

    async def test(server: HttpPeer) -> None:
        monkeypatch.setenv("https_proxy", server.url.removesuffix("/v1"))
        transport = SyncTransport(tls=trusting) if kind is Sync else AsyncioTransport(tls=trusting)
        async with kind("https://localhost/v1", transport=transport) as one:
            if b"200" in reply:
                for _ in range(2):
                    assert (await one.hangup()).request_id == "req_1"
            else:
                with pytest.raises(offhook.APIConnectionError, match="the proxy"):
                    await one.hangup()
        asked: Any = await asyncio.to_thread(server.end)
        assert asked.startswith(b"CONNECT localhost:443 HTTP/1.1\r\n")
        assert KEY.encode() not in asked
        assert server.connections == 1

    with http_peer(talk) as server:
        run(test(server))


async def open_socket(one: Any, **given: Any) -> None:
    manager = one.client.realtime.connect(call_id="rtc_1", **given)
    if isinstance(one, Sync):
        await asyncio.to_thread(manager.enter)
    else:
        await manager.enter()


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ws_proxy", "wss_proxy", "socks_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@BOTH
@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", offhook.AuthenticationError),
        (b"HTTP/1.1 407 No\r\n\r\n", offhook.APIConnectionError),
    ],
)
def test_a_socket_goes_through_the_proxy_of_the_requests_and_shows_no_password(
    kind: Any, name: str, reply: bytes, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(peer: Peer) -> tuple[bytes, bytes]:
        asked = peer.request()
        peer.say(reply)
        upgrade = peer.request()
        if upgrade:
            peer.say(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        return asked, upgrade

    async def test(server: HttpPeer) -> None:
        monkeypatch.setenv(name, server.url.replace("//", "//me:p%40ss@").removesuffix("/v1"))
        async with kind("http://voice.example:8080/v1") as one:
            with pytest.raises(expected) as caught:
                await open_socket(one)
            assert "p@ss" not in str(caught.value)
            assert "p%40ss" not in str(caught.value)
        asked, upgrade = await asyncio.to_thread(server.end)  # type: ignore[misc]
        assert asked.startswith(b"CONNECT voice.example:8080 HTTP/1.1\r\n")
        assert b"proxy-authorization: basic bwu6cebzcw==\r\n" in asked.lower()
        assert KEY.encode() not in asked
        assert upgrade.startswith(b"GET /v1/realtime?call_id=rtc_1 ") == (b"200" in reply)

    with http_peer(talk) as server:
        run(test(server))


SPECIAL = "a /?#@b", "p:/?#@[] \u20ac%"


@BOTH
@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("way", ["http", "https", "ws", "wss"])
def test_users_and_passwords_of_proxies_arrive_as_written(kind: Any, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(peer: Peer) -> bytes:
        asked = peer.request()
        peer.say(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
        return asked

    async def test(server: HttpPeer) -> None:
        user, password = (quote(each, safe="") for each in SPECIAL)
        url = server.url.replace("//", f"//{user}:{password}@").removesuffix("/v1")
        scheme = {"ws": "http", "wss": "https"}.get(way, way)
        monkeypatch.setenv(f"{scheme}_proxy", url)
        async with kind(f"{scheme}://voice.example/v1") as one:
            with pytest.raises(offhook.APIError) as caught:
                await (open_socket(one) if way in {"ws", "wss"} else one.hangup())
        shown = f"{caught.value!r} {caught.value}"
        assert SPECIAL[1] not in shown
        assert password not in shown
        asked: Any = await asyncio.to_thread(server.end)
        (line,) = (each for each in asked.split(b"\r\n") if each.lower().startswith(b"proxy-authorization: basic "))
        assert b64decode(line.split()[-1]).decode() == ":".join(SPECIAL)

    with http_peer(talk) as server:
        run(test(server))


@BOTH
@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize(
    "url", ["socks5://me:secret@127.0.0.1:1", "https://me:secret@127.0.0.1:1", "http://me:secret@:1"]
)
def test_a_proxy_that_a_socket_cannot_use_is_a_setting_and_no_bare_error(
    kind: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with kind("https://voice.example/v1") as one:
            with pytest.raises(ConfigError, match="proxy") as caught:
                await open_socket(one)
            assert "secret" not in str(caught.value)
            given = {"proxy": "ftp://me:secret@127.0.0.1:1"}
            with pytest.raises(offhook.APIConnectionError, match="proxy") as unusable:
                await open_socket(one, websocket_connection_options=given)
            assert "secret" not in str(unusable.value)

    monkeypatch.setenv("ALL_PROXY", url)
    run(test())


@BOTH
@pytest.mark.usefixtures("no_proxies")
def test_a_socket_to_an_exempt_host_goes_there_itself(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(peer: Peer) -> bytes:
        upgrade = peer.request()
        peer.say(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        return upgrade

    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            with pytest.raises(offhook.AuthenticationError):
                await open_socket(one)
        upgrade: Any = await asyncio.to_thread(server.end)
        assert upgrade.startswith(b"GET /v1/realtime?")

    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http_peer(talk) as server:
        run(test(server))


@BOTH
@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://127.0.0.1:1"])
@pytest.mark.parametrize("connecting", [{}, {"source_address": ("127.0.0.1", 0)}])
def test_a_socket_that_is_to_take_no_proxy_does_not_mind_which_one_there_is(
    kind: Any, url: str, connecting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(peer: Peer) -> bytes:
        upgrade = peer.request()
        peer.say(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        return upgrade

    async def test(server: HttpPeer) -> None:
        given = {"proxy": None, **connecting}
        if kind is Async and connecting:
            given["local_addr"] = given.pop("source_address")
        async with kind(server.url) as one:
            with pytest.raises(offhook.AuthenticationError):
                await open_socket(one, websocket_connection_options=given)
        upgrade: Any = await asyncio.to_thread(server.end)
        assert upgrade.startswith(b"GET /v1/realtime?")

    monkeypatch.setenv("ALL_PROXY", url)
    with http_peer(talk) as server:
        run(test(server))


@BOTH
@pytest.mark.usefixtures("no_proxies")
def test_a_socket_of_the_applications_own_connection_stays_on_it(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(peer: Peer) -> bytes:
        upgrade = peer.request()
        peer.say(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        return upgrade

    async def test(server: HttpPeer) -> None:
        host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
        async with kind("http://voice.example/v1") as one:
            given: dict[str, Any] = {"sock": socket.create_connection((host, int(port)))}
            with pytest.raises(offhook.AuthenticationError):
                await open_socket(one, websocket_connection_options=given)
            source = {"source_address" if kind is Sync else "local_addr": (host, 0)}
            with pytest.raises(ConfigError, match=r"websocket_connection_options.*proxy"):
                await open_socket(one, websocket_connection_options=source)
        async with kind(server.url) as one:
            with pytest.raises(offhook.AuthenticationError):
                await open_socket(one, websocket_connection_options={**source, "proxy": None})
        upgrade: Any = await asyncio.to_thread(server.end)
        assert upgrade.startswith(b"GET /v1/realtime?")

    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with http_peer(talk) as server:
        run(test(server))


@BOTH
@pytest.mark.usefixtures("no_proxies")
def test_a_proxy_whose_reply_trickles_in_does_not_stretch_the_time_to_connect(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(peer: Peer) -> None:
        peer.request()
        while not over.wait(0.02):
            peer.say(b"x")

    async def test(server: HttpPeer) -> None:
        monkeypatch.setenv("https_proxy", server.url.removesuffix("/v1"))
        async with kind("https://voice.example/v1") as one:
            with pytest.raises(offhook.APITimeoutError, match="Cannot connect"):
                await one.hangup()

    monkeypatch.setattr(limits, "CONNECT_TIMEOUT_S", 0.3)
    over = threading.Event()
    with http_peer(talk) as server:
        try:
            run(test(server))
        finally:
            over.set()


@contextlib.contextmanager
def silent_address() -> Iterator[tuple[str, int]]:
    """An address that answers no connection: what would wait to be accepted is full."""
    with contextlib.ExitStack() as held:
        listening = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


@BOTH
@pytest.mark.usefixtures("no_proxies")
def test_a_host_of_many_silent_addresses_does_not_stretch_the_time_to_connect(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with kind("http://voice.example/v1") as one:
            with pytest.raises(offhook.APITimeoutError, match=r"0\.5 s"):
                await one.hangup(timeout=0.5)
            with pytest.raises(offhook.APITimeoutError, match="in time"):
                await open_socket(one, websocket_connection_options={"open_timeout": 0.5})

    with silent_address() as silent:
        # As many as would take longer than the patience of ``run``, if each had the whole time.
        resolve_to(monkeypatch, *[silent] * 200)
        run(test())


@BOTH
@pytest.mark.usefixtures("no_proxies")
@pytest.mark.parametrize("first", ["silent", "refusing", "impossible"])
def test_an_address_that_is_dead_does_not_keep_from_the_next_one(
    kind: Any, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with ``localhost``, where a server listens on one of its two addresses."""

    def talk(peer: Peer) -> object:
        upgrade = peer.request()
        peer.say(EMPTY if b"/hangup" in upgrade else b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n")
        return answer_all(peer)

    async def test(server: HttpPeer, dead: tuple[Any, ...]) -> None:
        host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
        resolve_to(monkeypatch, dead, (host, int(port)))
        async with kind("http://voice.example/v1") as one:
            # Without a time limit of one's own: the silent address must not use up what is left for the other.
            assert (await one.hangup()).request_id == "req_1"
            with pytest.raises(offhook.AuthenticationError):
                await open_socket(one)

    with contextlib.ExitStack() as held:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refusing = closed.getsockname()
        silent = held.enter_context(silent_address())
        dead = {"silent": silent, "refusing": refusing, "impossible": ("0.0.0.256", 1)}[first]
        run(test(held.enter_context(http_peer(talk)), dead))


@BOTH
@pytest.mark.usefixtures("no_proxies")
def test_when_no_address_answers_the_last_refusal_is_told(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(*dead: tuple[str, int]) -> None:
        resolve_to(monkeypatch, *dead)
        async with kind("http://voice.example/v1") as one:
            with pytest.raises(offhook.APIConnectionError, match="refused") as caught:
                await one.hangup()
            assert not isinstance(caught.value, offhook.APITimeoutError)

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        addresses = [each.getsockname() for each in (one, two)]
    run(test(*addresses))


def test_addresses_of_both_families_are_tried_by_turns() -> None:
    def address(family: socket.AddressFamily, host: str) -> Address:
        return family, socket.SOCK_STREAM, 6, "", (host, 80)

    six = [address(socket.AF_INET6, host) for host in ("::1", "::2", "::3")]
    four = [address(socket.AF_INET, host) for host in ("127.0.0.1", "127.0.0.2")]
    assert in_turn([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert in_turn(four) == four
    assert in_turn([]) == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", False), ("127.1", False), ("a:b", False), ("1.2.3.256", False)],
)
def test_an_address_is_told_from_a_name(host: str, expected: bool) -> None:
    assert is_address(host) is expected


@BOTH
def test_connections_of_a_burst_that_the_server_closes_are_closed_while_one_goes_on(kind: Any) -> None:
    size = 5
    together = threading.Barrier(size)
    peers: list[Peer] = []

    def talk(peer: Peer) -> object:
        peers.append(peer)
        peer.request()
        together.wait(PATIENCE_S)
        peer.say(EMPTY)
        if not peer.request():
            return "closed"
        # Only one is used again; the others have been ended before it answers.
        for other in peers:
            if other is not peer:
                other.connection.shutdown(socket.SHUT_WR)
        peer.say(EMPTY)
        return answer_all(peer)

    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            await asyncio.gather(*(one.hangup() for _ in range(size)))
            await one.hangup()
            for _ in range(size - 1):
                assert await asyncio.to_thread(server.end) == "closed"
            await one.hangup()
            assert server.connections == size
        assert await asyncio.to_thread(server.end) == 1

    with http_peer(talk) as server:
        run(test(server))


@BOTH
def test_connections_of_a_burst_that_grow_old_are_closed_while_one_goes_on(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 5
    together = threading.Barrier(size)

    def talk(peer: Peer) -> object:
        peer.request()
        with contextlib.suppress(threading.BrokenBarrierError):  # one that came after the burst
            together.wait(PATIENCE_S)
        peer.say(EMPTY)
        return answer_all(peer)

    async def test(server: HttpPeer) -> None:
        async with kind(server.url) as one:
            await asyncio.gather(*(one.hangup() for _ in range(size)))
            monkeypatch.setattr(limits, "IDLE_S", 0.2)
            together.abort()
            while server.ends.qsize() < size - 1:
                with contextlib.suppress(offhook.APIConnectionError):  # the one was too old as well
                    await one.hangup()

    with http_peer(talk) as server:
        run(test(server))


def test_the_limits_of_waiting_are_the_contracts() -> None:
    assert (limits.TIMEOUT_S, limits.CONNECT_TIMEOUT_S, limits.MAX_RETRIES) == (600, 5, 2)
    context = offhook.client.transport.default_tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
