"""HTTP and HTTPS, ws and wss, on one port; and certificates that are made here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvloop
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from tests.socket.live import KEY, PATIENCE_S, Live, run, until
from websockets.asyncio.client import connect

from offhook.config import load_config
from offhook.errors import ConfigError
from offhook.net.http import HttpOptions, HttpServer
from offhook.net.tls import local_certificate, tls_context

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
QUICK = HttpOptions(request_s=1.5, stalled_s=0.3, connections=5)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return local_certificate(["localhost"], tmp_path_factory.mktemp("tls"))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Say how the peer came; sockets echo."""
    if scope["type"] == "websocket":
        web = WebSocket(scope, receive, send)
        await web.accept()
        await web.send_text(f"{scope['scheme']} {len(await web.receive_text())}")
        await web.close()
        return
    await Response(scope["scheme"] + " " + str(len(await Request(scope, receive).body())))(scope, receive, send)


@contextlib.asynccontextmanager
async def serving(certificate: tuple[Path, Path], options: HttpOptions | None = None) -> AsyncIterator[tuple[Any, int]]:
    server = HttpServer(app, options)
    _, port = await server.start("127.0.0.1", 0, tls_context(*certificate))
    try:
        yield server, port
    finally:
        await server.stop(1.0)


def on_both(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    for loop in LOOPS.values():
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(asyncio.wait_for(test(), 60))


def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


def test_the_first_byte_decides_between_plain_and_tls(certificate: tuple[Path, Path]) -> None:
    async def test() -> None:
        async with serving(certificate) as (_, port), httpx.AsyncClient(verify=trusting(certificate)) as client:
            body = b"x" * 300_000
            for scheme in ("http", "https", "http"):
                answer = await client.post(f"{scheme}://127.0.0.1:{port}/", content=body)
                assert answer.text == f"{scheme} 300000"
            for scheme, tls in (("ws", None), ("wss", trusting(certificate))):
                async with connect(f"{scheme}://localhost:{port}/", ssl=tls) as web:
                    await web.send("x" * 200_000)
                    assert await web.recv() == f"{scheme} 200000"

    on_both(test)


async def let_go(port: int, first: bytes) -> None:
    """Say this, and wait until the server has closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def test_a_peer_that_says_nothing_or_nonsense_is_let_go(certificate: tuple[Path, Path]) -> None:
    async def test() -> None:
        async with serving(certificate, QUICK) as (_, port):
            await asyncio.gather(*(let_go(port, each) for each in (b"", b"\x16", b"\x16" * 100, b"\x16\x03\x01\x02")))
            gone = socket.create_connection(("127.0.0.1", port))
            gone.close()
            async with httpx.AsyncClient(verify=trusting(certificate)) as client:
                assert (await client.get(f"https://127.0.0.1:{port}/")).text == "https 0"

    on_both(test)


def test_too_many_silent_peers_are_refused_and_the_rest_is_served_when_they_go(certificate: tuple[Path, Path]) -> None:
    async def test() -> None:
        async with serving(certificate, HttpOptions(request_s=60, connections=3)) as (server, port):
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
            reader, _ = silent[-1]
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
            assert server._either.refused == 1
            for _, writer in silent:
                writer.close()
                await writer.wait_closed()
            await until(lambda: not server._either._sorting)  # the server has seen that they went
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"http://127.0.0.1:{port}/")).text == "http 0"

    on_both(test)


def test_a_certificate_made_here_is_made_once_and_again_for_another_name(tmp_path: Path) -> None:
    first = local_certificate(["203.0.113.9", "voice.example"], tmp_path / "made")
    content = first[0].read_bytes()
    assert first[1].stat().st_mode & 0o077 == 0
    assert local_certificate(["voice.example", "203.0.113.9"], tmp_path / "made") == first
    assert first[0].read_bytes() == content
    local_certificate(["other.example"], tmp_path / "made")
    assert first[0].read_bytes() != content
    ssl.create_default_context(cafile=str(first[0]))


def test_settings_of_tls_that_do_not_do_say_so(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    for flags, key in (
        ({"tls_cert": "a.pem"}, "--tls-key"),
        ({"tls_key": "a.pem"}, "--tls-cert"),
        ({"tls_cert": "a.pem", "tls_key": "b.pem", "tls_self_signed": True}, "--tls-self-signed"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(flags, {})
        assert caught.value.key == key
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    for files, key in (
        ((tmp_path / "none", junk), "--tls-cert"),
        ((junk, tmp_path / "none"), "--tls-key"),
        ((junk, junk), "--tls-cert"),
        ((certificate[0], junk), "--tls-cert"),
    ):
        with pytest.raises(ConfigError) as caught:
            tls_context(*files)
        assert caught.value.key == key


def test_without_openssl_the_start_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="--tls-cert"):
        local_certificate([], tmp_path / "made")


def test_the_official_client_talks_over_tls_on_the_port_of_the_api(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    async def test(one: Live) -> None:
        ready = one.ready
        assert ready.https is not None
        assert ready.https.split("//")[1] == ready.http.split("//")[1]
        assert ready.certificate == str(tmp_path / "offhook" / "certificate.pem")
        trusted = ssl.create_default_context(cafile=ready.certificate)
        http = DefaultAsyncHttpxClient(verify=trusted)
        async with AsyncOpenAI(api_key=KEY, base_url=ready.https + "/v1", max_retries=0, http_client=http) as sdk:
            secret = await sdk.realtime.client_secrets.create()
            options: Any = {"ssl": trusted}
            async with sdk.with_options(api_key=secret.value).realtime.connect(
                model="gpt-realtime", websocket_connection_options=options
            ) as connection:
                assert (await connection.recv()).type == "session.created"
        await until(lambda: len(one.server.sessions) == 0)
        assert (await one.http("GET", "/health")).status_code == 200

    run(test, tls_self_signed=True)
