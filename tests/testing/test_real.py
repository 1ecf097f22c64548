"""The same words on real sockets: a server of the test's own, and one that runs elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.socket.live import live
from tests.socket.model_server import Received, Reply, serve

from offhook.errors import LocalError
from offhook.model.local.voices import assets
from offhook.model.local.whisper.folder import is_installed
from offhook.testing.box import PhoneOptions
from offhook.testing.handset import AsyncHandset
from offhook.testing.sync import Handset

PATIENCE_S = 60


def run(test: Any) -> None:
    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test()

    asyncio.run(whole())


def test_a_url_is_told_of_calls_in_real_time() -> None:
    came: list[Received] = []

    def hook(received: Received) -> Reply:
        came.append(received)
        return Reply([b""])

    async def test() -> None:
        options = PhoneOptions(real=True, settings={"ring_seconds": 1.0})
        async with serve(hook) as application, AsyncHandset(options) as phone:
            await phone.connect(f"{application.url}/hook")
            call = await phone.dial("+15550001", headers=[("X-Trunk", "blue")])
            assert call.end is not None
            assert call.end.status == 480
        assert b"+15550001" in came[0].body
        assert "webhook call.incoming" in str(phone.ladder)

    run(test)


def test_a_server_that_runs_elsewhere_is_called_and_only_its_sound_is_known() -> None:
    async def test() -> None:
        async with live(answer="echo") as one, AsyncHandset(PhoneOptions(real=True, to=one.ready.sip)) as phone:
            call = await phone.dial()
            await call.press("1")
            assert (call.id, call.events) == (None, [])
            with pytest.raises(LocalError, match="not ours"):
                await phone.connect(print)
            await call.hangup()
            assert call.end is not None
            assert call.end.by == "us"

    run(test)


@pytest.mark.skipif(is_installed("tiny.en"), reason="there is a recogniser")
def test_words_of_a_stranger_need_a_recogniser(tmp_path: Any) -> None:
    from offhook.audio.wav import write_wav
    from offhook.testing.voice import voice

    said = tmp_path / "said.wav"
    said.write_bytes(write_wav(voice(800), 8000))

    async def test() -> None:
        async with live(answer="echo") as one, AsyncHandset(PhoneOptions(real=True, to=one.ready.sip)) as phone:
            call = await phone.dial()
            await call.says(str(said))
            with pytest.raises(LocalError, match="recogniser"):
                await call.hears("anything", within_ms=20_000)

    run(test)


@pytest.mark.skipif(not is_installed("tiny.en") or not assets.is_installed(), reason="offhook[local] is not installed")
def test_a_stranger_is_spoken_to_and_understood() -> None:
    async def test() -> None:
        async with live(answer="echo") as one, AsyncHandset(PhoneOptions(real=True, to=one.ready.sip)) as phone:
            call = await phone.dial()
            await call.says("I would like to book an appointment on Monday.")
            line = await call.hears("appointment on monday", within_ms=30_000)
            assert line.start_ms > 0
            await call.hangup()
            # An echo is there within a packet: which of the two began first is not told apart.
            assert {each.who for each in call.transcript} == {"caller", "agent"}

    run(test)


def test_another_server_can_only_be_called_in_real_time() -> None:
    with pytest.raises(LocalError, match="real=True"):
        Handset(PhoneOptions(to="sip:agent@192.0.2.9")).__enter__()
