"""Noise reduction as an application asks for it: at accept, in mid-call, and where it is not installed."""

from __future__ import annotations

import base64
import logging

import numpy as np
import pytest
from tests.socket.live import Live, Socket, run_jumping, until
from tests.socket.test_sessions_live import Client, opened

from offhook import server as wiring
from offhook.audio.g711 import Codec, decode, encode
from offhook.audio.level import levels_dbfs
from offhook.audio.pcm import Samples, from_bytes, saturate, silence, to_bytes
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


async def heard(client: Client, noise: Samples, rate_hz: int, *, piece: int = 9600) -> Samples:
    """Append noise as a turn of its own; return what the session has heard of it."""
    audio = to_bytes(noise) if rate_hz == 24000 else encode(noise, Codec.PCMU)
    await client.append(audio, piece=piece)
    await client.send("input_audio_buffer.commit")
    (item,) = [each["item"] for each in await client.until("conversation.item.done") if "item" in each][-1:]
    await client.send("conversation.item.retrieve", item_id=item["id"])
    kept = base64.b64decode((await client.until("conversation.item.retrieved"))[-1]["item"]["content"][0]["audio"])
    assert len(kept) == len(audio)
    return from_bytes(kept) if rate_hz == 24000 else decode(kept, Codec.PCMU)


def loudness(samples: Samples, rate_hz: int) -> float:
    return float(np.median(levels_dbfs(samples[-rate_hz // 2 :], rate_hz // 100)))


@pytest.mark.skipif(load_processors() is None, reason="noise reduction is not installed: offhook[noise]")
@pytest.mark.parametrize(
    ("kind", "rate_hz"), [({"type": "audio/pcm", "rate": 24000}, 24000), ({"type": "audio/pcmu"}, 8000)]
)
def test_the_noise_of_a_socket_is_reduced_when_the_client_wants_it(kind: dict[str, object], rate_hz: int) -> None:
    async def test(one: Live) -> None:
        # Of 24 kHz only what a voice has is left; so that both sides have the same band, the noise has no more.
        noise = np.random.default_rng(1).normal(0, 330, 3 * rate_hz)
        noise = saturate(np.convolve(noise, np.ones(rate_hz // 8000) / (rate_hz // 8000) ** 0.5, "same"))
        async with opened(one) as client:
            manual = {"input": {"format": kind, "turn_detection": None}}
            await client.update(audio=manual)
            before = loudness(await heard(client, noise, rate_hz), rate_hz)
            await client.update(audio={"input": {"noise_reduction": {"type": "far_field"}}})
            assert loudness(await heard(client, noise, rate_hz), rate_hz) < before - 10
            whole = await heard(client, np.tile(noise, 2), rate_hz, piece=10**9)
            assert abs(loudness(whole, rate_hz) - before) < 1, "a recording is left as it is"
            await client.update(audio={"input": {"noise_reduction": None}})
            assert abs(loudness(await heard(client, noise, rate_hz), rate_hz) - before) < 1

    run_jumping(test)
