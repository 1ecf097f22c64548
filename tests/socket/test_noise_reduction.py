"""Noise reduction as an application asks for it: at accept, in mid-call, and where it is not installed."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from tests.socket.live import Live, Socket, run_jumping, until

from offhook import server as wiring
from offhook.audio.level import levels_dbfs
from offhook.audio.pcm import saturate, silence
from offhook.media.noise import load_processors

FAR = {"type": "realtime", "audio": {"input": {"noise_reduction": {"type": "far_field"}}}}
OFF = {"type": "realtime", "audio": {"input": {"noise_reduction": None}}}


@pytest.mark.skipif(load_processors() is None, reason="noise reduction is not installed: offhook[noise]")
def test_the_noise_of_a_call_is_reduced_when_the_application_wants_it() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        await call.said(call.begin_saying(silence(800)))
        call.begin_saying(saturate(np.random.default_rng(1).normal(0, 330, 8000 * 60)))

        async def reaches(least: float, most: float) -> None:
            def there() -> bool:
                newest = one.server.plane.input_audio(call_id, 0, 3_600_000)[-1600:]
                return len(newest) == 1600 and least <= np.median(levels_dbfs(newest)) <= most

            await until(there)

        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await reaches(-41, -39)
            await connection.session.update(session=FAR)
            updated = (await socket.until("session.updated"))[-1]["session"]
            assert updated["audio"]["input"]["noise_reduction"] == {"type": "far_field", "strength": 1.0}
            await reaches(-90, -50)
            await connection.session.update(session=OFF)
            await socket.until("session.updated")
            await reaches(-41, -39)
        assert call.end is None
        assert one.server.health()["media"]["noise_reduction"] == "webrtc"

    run_jumping(test)


def test_a_call_goes_on_without_it_where_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wiring, "load_processors", lambda: None)
    caplog.set_level(logging.WARNING, "offhook")

    async def test(one: Live) -> None:
        call, call_id = await one.talk(FAR)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
            session = (await socket.until("session.updated"))[-1]["session"]
            assert session["audio"]["input"]["noise_reduction"]["type"] == "far_field"
        assert call.end is None
        assert one.server.health()["media"]["noise_reduction"] is None

    run_jumping(test)
    (fact,) = [message for message in caplog.messages if message.startswith("noise reduction is not installed")]
    assert "offhook[noise]" in fact
