"""baresip, a softphone that knows nothing of us, calls and is called: both sides hear, and agree on what happened."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interop.application import accept, outcome, over
from tests.interop.run_baresip import Baresip, baresip, needs_baresip
from tests.socket.live import PATIENCE_S, Incoming, Live, Socket, live, run

from offhook.audio.pcm import silence
from offhook.audio.tone import find_tones, tone
from offhook.audio.wav import write_wav
from offhook.testing.hearing import AUDIBLE_GAP_MS, find_utterances
from offhook.testing.phone import Phone
from offhook.testing.voice import voice

pytestmark = needs_baresip

# A moment of silence before the first word, as people make it: the server has accepted by then.
SPEECH = np.concatenate([silence(4000), voice(1200)])
ECHO_PORTS = "30000-39998"


def agent_of(one: Live, user: str = "agent") -> str:
    return f"sip:{user}@{one.ready.sip.removeprefix('sip:')}"


async def talk(one: Live, softphone: Baresip) -> str:
    """Let baresip dial, and wait until both sides stand; return the call id."""
    await softphone.do("dial", agent_of(one))
    await softphone.told("CALL_ESTABLISHED")
    return (await asyncio.wait_for(one.incoming.get(), PATIENCE_S)).data.call_id


@pytest.mark.real_time(reruns=3)
@pytest.mark.parametrize(
    ("codec", "transport"),
    [("PCMU", "udp"), ("PCMA", "udp"), ("PCMU", "tcp")],
)
def test_speech_is_answered_and_the_answer_is_heard_whole(
    codec: str, transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        async with baresip(tmp_path / "phone", SPEECH, codecs=f"{codec}/8000/1", transport=transport) as softphone:
            call_id = await talk(one, softphone)
            async with one.sdk.realtime.connect(call_id=call_id) as connection:
                events = await Socket(connection).until("output_audio_buffer.stopped")
            await one.calls.hangup(call_id)
            await softphone.told("CALL_CLOSED")
        types = [event["type"] for event in events]
        assert types.count("input_audio_buffer.speech_started") == 1
        assert types.count("response.done") == 1
        (heard,) = softphone.heard()
        (answer,) = find_tones(heard)
        assert answer.number == 1
        assert answer.longest_gap_ms <= AUDIBLE_GAP_MS
        assert abs(answer.end_ms - answer.start_ms - 2000) <= AUDIBLE_GAP_MS
        assert any(message.startswith("call answered") and f"codec={codec}" in message for message in caplog.messages)

    run(test, app=accept)


def test_the_softphone_hangs_up_and_both_sides_know_it(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        async with baresip(tmp_path / "phone") as softphone:
            call_id = await talk(one, softphone)
            await softphone.do("hangup")
            await softphone.told("CALL_CLOSED")
            end = (await over(one, call_id))["end"]
        assert (end["result"], end["by"], end["reason"]) == ("completed", "caller", "caller_hung_up")

    run(test, app=accept)


def test_a_softphone_that_gives_up_while_it_rings_is_cancelled(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        async with baresip(tmp_path / "phone") as softphone:
            await softphone.do("dial", agent_of(one))
            await softphone.told("CALL_RINGING")
            event = await asyncio.wait_for(one.incoming.get(), PATIENCE_S)
            await softphone.do("hangup")
            end = (await over(one, event.data.call_id))["end"]
        assert (end["result"], end["by"]) == ("cancelled", "caller")

    run(test)


def test_a_rejection_reaches_the_softphone_with_its_status(tmp_path: Path) -> None:
    async def reject(one: Live, event: Incoming) -> None:
        await one.calls.reject(event.data.call_id, status_code=486)

    async def test(one: Live) -> None:
        async with baresip(tmp_path / "phone") as softphone:
            await softphone.do("dial", agent_of(one))
            closed = await softphone.told("CALL_CLOSED")
        assert closed["param"].startswith("486 ")

    run(test, app=reject)


def test_keys_pressed_on_the_softphone_arrive_as_events(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        async with baresip(tmp_path / "phone") as softphone:
            call_id = await talk(one, softphone)
            async with one.sdk.realtime.connect(call_id=call_id) as connection:
                sideband = Socket(connection)
                for key in "5#":
                    await softphone.do("sndcode", key)
                    (pressed,) = await sideband.until("input_audio_buffer.dtmf_event_received")
                    assert pressed["event"] == key

    run(test, app=accept)


async def read_figure(softphone: Baresip, figure: str) -> float:
    """A figure of baresip's audio: ``rcvd=`` packets received, ``time =`` seconds that its microphone has run.

    It shows none before there is something to count.
    """
    found = re.search(figure + r" *([0-9.]+)", await softphone.do("audio_debug"))
    return 0.0 if found is None else float(found[1])


async def let_pass(softphone: Baresip, figure: str, more: float) -> float:
    """Wait until a figure has grown by so much."""
    least = await read_figure(softphone, figure) + more
    async with asyncio.timeout(PATIENCE_S):
        while (reached := await read_figure(softphone, figure)) < least:  # noqa: ASYNC110 - it tells when asked
            await asyncio.sleep(0.02)
    return reached


def test_hold_is_silent_shown_and_can_be_taken_back(tmp_path: Path) -> None:
    """Users' complaint: hold kills the call, and nobody can see that it is on hold.

    What is heard is counted in packets, since baresip's recording ends with the first hold.
    """

    async def test(one: Live) -> None:
        async with baresip(tmp_path / "phone") as softphone:
            call_id = await talk(one, softphone)
            await let_pass(softphone, "rcvd=", 5)
            await softphone.do("hold")
            await softphone.told("CALL_REMOTE_SDP", 2)
            assert (await one.record(call_id))["on_hold"] is True
            await let_pass(softphone, "time =", 0.2)  # what was on its way is there now
            at_hold = await read_figure(softphone, "rcvd=")
            await let_pass(softphone, "time =", 0.5)
            assert await read_figure(softphone, "rcvd=") == at_hold
            await softphone.do("resume")
            await softphone.told("CALL_REMOTE_SDP", 3)
            assert (await one.record(call_id))["on_hold"] is False
            await let_pass(softphone, "rcvd=", 10)
            await softphone.do("hangup")
            assert (await over(one, call_id))["end"]["reason"] == "caller_hung_up"

    run(test, app=accept)


def test_a_softphone_is_transferred_and_the_outcome_is_known(tmp_path: Path) -> None:
    """Users' complaint: refer answered 200, no REFER on the wire, no event, and the caller sat in silence."""

    async def test(one: Live) -> None:
        async with (
            live(answer="echo", rtp_ports=ECHO_PORTS) as other,
            baresip(tmp_path / "phone", tone(7, 1000)) as softphone,
        ):
            call_id = await talk(one, softphone)
            await softphone.told("CALL_RTPESTAB")  # sound of this server
            target = agent_of(other, "echo")
            await one.calls.refer(call_id, target_uri=target)
            assert (await softphone.told("TRANSFER"))["param"] == f"<{target}>"
            await softphone.told("CALL_ESTABLISHED", 2)
            await softphone.told("CALL_RTPESTAB", 2)  # sound of the other server
            await softphone.told("CALL_CLOSED")
            record = await over(one, call_id)
            assert record["refer"] == {"target_uri": target, "status": 200, "detail": "OK", "final": True}
            assert (record["end"]["result"], record["end"]["by"]) == ("transferred", "application")
            assert other.server.directory.calls == 1

    run(test, app=accept)


def test_a_transfer_to_somebody_busy_leaves_the_softphone_where_it_is(tmp_path: Path) -> None:
    """Users' complaint: a cold transfer ends in 603, and there is no way to see why."""

    async def test(one: Live) -> None:
        async with live(answer="reject:486", rtp_ports=ECHO_PORTS) as other, baresip(tmp_path / "phone") as softphone:
            call_id = await talk(one, softphone)
            await one.calls.refer(call_id, target_uri=agent_of(other))
            record = await outcome(one, call_id)
            assert (record["state"], record["refer"]["status"]) == ("answered", 486)
            await one.calls.hangup(call_id)
            assert (await over(one, call_id))["end"]["result"] == "completed"

    run(test, app=accept)


# -- the softphone is called


@pytest.mark.real_time(reruns=3)
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_our_telephone_calls_the_softphone_holds_it_and_hangs_up(transport: Any, tmp_path: Path) -> None:
    async def test() -> None:
        async with baresip(tmp_path / "phone", tone(5, 1000), answers=True) as softphone, Phone() as phone:
            call = await phone.dial(softphone.uri, transport=transport)
            await call.answered()
            await call.say(tone(9, 600))
            await call.hears_silence(300)
            await call.hold()
            await softphone.told("CALL_REMOTE_SDP", 2)
            await call.resume()
            await softphone.told("CALL_REMOTE_SDP", 3)
            await let_pass(softphone, "rcvd=", 10)
            await call.hang_up()
            await softphone.told("CALL_CLOSED")
            assert call.end is not None
            assert (call.end.by, call.end.status) == ("us", 200)
        (answer,) = find_tones(call.heard)
        assert answer.number == 5
        assert answer.longest_gap_ms <= AUDIBLE_GAP_MS
        assert [found.number for found in find_tones(softphone.heard()[0])] == [9]

    asyncio.run(asyncio.wait_for(test(), 120))


@pytest.mark.real_time(reruns=3)
def test_offhook_call_talks_to_the_softphone_and_sums_up(tmp_path: Path) -> None:
    (tmp_path / "line.wav").write_bytes(write_wav(voice(1000), 8000))

    async def test() -> None:
        says = np.concatenate([silence(20000), tone(5, 1000)])
        async with baresip(tmp_path / "phone", says, answers=True) as softphone:
            command = [sys.executable, "-m", "offhook", "call", softphone.uri, "--json"]
            command += ["--say", str(tmp_path / "line.wav"), "--hear", str(tmp_path / "both.wav")]
            caller = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            printed, _ = await caller.communicate()
            assert caller.returncode == 0, printed
            await softphone.told("CALL_CLOSED")
        figures = json.loads(printed)
        assert figures["end"]["by"] == "us"
        assert len(figures["turn_ms"]) == 1
        assert figures["heard_s"] == pytest.approx(1.0, abs=0.1)
        (said,) = find_utterances(softphone.heard()[0])
        assert said.end_ms - said.start_ms == pytest.approx(1000, abs=100)

    asyncio.run(asyncio.wait_for(test(), 120))
