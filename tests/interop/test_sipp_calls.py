"""SIPp calls a whole server: webhook, official SDK and SIP, and at the end both sides tell the same story."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import NotFoundError
from tests.interop.application import accept, stand
from tests.interop.run_sipp import Ran, header, needs_sipp, run_sipp
from tests.socket.live import KEY, PATIENCE_S, Incoming, Live, Socket, hurry, run, until
from websockets.asyncio.client import connect

from offhook.audio.g711 import Codec, encode
from offhook.audio.pcm import silence
from offhook.rtp.packet import parse_rtp
from offhook.testing.voice import voice

pytestmark = needs_sipp

TARGET = "sip:operator@127.0.0.1:5999"


async def sipp(one: Live, scenario: str, folder: Path, **options: Any) -> Ran:
    return await run_sipp(one.server.sip.address, scenario, folder, **options)


@contextlib.asynccontextmanager
async def calling(
    one: Live, scenario: str, folder: Path, **options: Any
) -> AsyncIterator[tuple[Incoming, asyncio.Task[Ran]]]:
    """Let SIPp call while the test is the application: gives the webhook's event, and at the end SIPp has passed."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(sipp(one, scenario, folder, **options))
        yield await asyncio.wait_for(one.incoming.get(), PATIENCE_S), task


async def transfer(one: Live, event: Incoming) -> None:
    await stand(one, event)
    await one.calls.refer(event.data.call_id, target_uri=TARGET)


async def ended_call(one: Live) -> dict[str, Any]:
    """The record of the newest call, which has to be over."""
    (record, *_) = (await one.http("GET", "/offhook/v1/calls")).json()["data"]
    assert record["state"] == "ended"
    return dict(record)


def facts(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    return [message for message in caplog.messages if message.startswith(start)]


# -- calls that come and go


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_many_calls_through_webhook_and_accept_none_of_which_fails(transport: str, tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        await sipp(one, "call", tmp_path, transport=transport, calls=60, rate=30)
        listed = (await one.http("GET", "/offhook/v1/calls")).json()["data"]
        ends = [(call["end"]["result"], call["end"]["by"], call["end"]["reason"]) for call in listed]
        assert ends == [("completed", "caller", "caller_hung_up")] * 60
        assert one.server.webhooks.failures == 0

    run(test, app=accept)


def test_a_caller_that_cancels_gets_487_and_its_call_is_unknown_afterwards(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        await sipp(one, "cancel", tmp_path)
        event = await asyncio.wait_for(one.incoming.get(), PATIENCE_S)
        with pytest.raises(NotFoundError) as caught:
            await one.calls.accept(event.data.call_id, type="realtime")
        assert caught.value.code == "call_id_not_found"
        end = (await ended_call(one))["end"]
        assert (end["result"], end["by"], end["sip_status"]) == ("cancelled", "caller", 487)

    run(test)


def test_reject_tells_the_caller_486(tmp_path: Path) -> None:
    async def reject(one: Live, event: Incoming) -> None:
        await one.calls.reject(event.data.call_id, status_code=486)

    async def test(one: Live) -> None:
        await sipp(one, "busy", tmp_path)
        end = (await ended_call(one))["end"]
        assert (end["result"], end["sip_status"]) == ("rejected", 486)

    run(test, app=reject)


def test_a_caller_without_a_common_codec_gets_488_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        await sipp(one, "no_codec", tmp_path)
        assert one.incoming.empty()
        assert one.server.directory.total == 0
        (fact,) = facts(caplog, "call refused")
        assert "status=488" in fact
        assert "PCMU or PCMA" in fact

    run(test)


def test_a_server_for_one_call_tells_the_next_caller_when_to_try_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users' complaint: a worker could not reliably be capped at one job."""
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        call = await one.dial()
        await call.answered()
        ran = await sipp(one, "full", tmp_path)
        (refusal,) = ran.received_with("SIP/2.0 503")
        assert header(refusal, "Retry-After") == ["5"]
        assert "the limit" in facts(caplog, "call refused status=503")[0]
        await call.hang_up()
        await until(lambda: one.server.directory.calls == 0)
        await sipp(one, "call", tmp_path)
        assert one.server.directory.total == 2

    run(test, app=accept, max_calls=1)


def test_an_invite_that_comes_three_times_is_one_call(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        async with calling(one, "resent_invite", tmp_path) as (event, _):
            await until(lambda: one.server.agent.counters.retransmissions_absorbed >= 2)
            await accept(one, event)
        assert one.server.directory.total == 1
        assert one.incoming.empty()
        assert (await ended_call(one))["end"]["result"] == "completed"

    run(test)


def test_a_200_is_repeated_until_the_ack_arrives_and_the_call_goes_on(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        ran = await sipp(one, "late_ack", tmp_path)
        answers = [each for each in ran.received_with("SIP/2.0 200") if header(each, "CSeq") == ["1 INVITE"]]
        assert len(answers) >= 3
        assert len(set(answers)) == 1
        assert (await ended_call(one))["end"]["reason"] == "caller_hung_up"

    run(test, app=accept)


def test_ack_lost_after_200_ends_the_call_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With T1 of 50 ms instead of 500 the server gives up after 3.2 s instead of 32."""
    hurry(monkeypatch, t1_s=0.05, t2_s=0.4)

    async def test(one: Live) -> None:
        await sipp(one, "lost_ack", tmp_path)
        end = (await ended_call(one))["end"]
        assert (end["result"], end["reason"]) == ("failed", "leg_lost")
        assert "ACK" in end["detail"]
        assert one.server.lines.ports.in_use == 0

    run(test, app=accept)


def test_an_invite_without_an_offer_is_answered_with_ours_and_audio_goes_where_the_ack_says(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.setblocking(False)
            keys = {"rtp_port": str(listener.getsockname()[1])}
            async with calling(one, "offerless", tmp_path, keys=keys) as (event, _):
                await accept(one, event)
                heard = parse_rtp(await asyncio.wait_for(loop.sock_recv(listener, 2000), PATIENCE_S))
                assert (heard.payload_type, len(heard.payload)) == (0, 160)
                await one.calls.hangup(event.data.call_id)

    run(test)


def test_what_sipp_says_is_a_turn_and_is_answered(tmp_path: Path) -> None:
    (tmp_path / "speech.ulaw").write_bytes(encode(np.concatenate([voice(1000), silence(16000)]), Codec.PCMU))

    async def test(one: Live) -> None:
        async with calling(one, "speak", tmp_path) as (event, _):
            await accept(one, event)
            async with one.sdk.realtime.connect(call_id=event.data.call_id) as connection:
                heard = await Socket(connection).until("output_audio_buffer.stopped")
            types = [each["type"] for each in heard]
            assert types.count("input_audio_buffer.speech_started") == 1
            assert types.count("response.done") == 1
            await one.calls.hangup(event.data.call_id)

    run(test)


# -- inside a call


def test_options_and_keys_inside_a_call_and_the_reason_of_a_bye(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        async with calling(one, "in_call", tmp_path) as (event, _):
            connection = await one.sdk.realtime.connect(call_id=event.data.call_id).enter()
            await accept(one, event)
            for digit in "5#":
                (pressed,) = await Socket(connection).until("input_audio_buffer.dtmf_event_received")
                assert pressed["event"] == digit
            await connection.close()
        assert 'Q.850;cause=16;text="Normal call clearing"' in (await ended_call(one))["end"]["detail"]

    run(test)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_hold_in_both_ways_is_answered_shown_and_told(
    transport: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users' complaint: hold kills the call, and nobody can see that it is on hold."""
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        await sipp(one, "hold", tmp_path, transport=transport)
        changes = [message.split(" call_id")[0] for message in caplog.messages if message.startswith("caller ")]
        assert changes == ["caller on hold", "caller back"] * 2
        assert (await ended_call(one))["end"]["reason"] == "caller_hung_up"

    run(test, app=accept)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_a_carriers_session_timer_refreshes_are_answered_and_change_nothing(transport: str, tmp_path: Path) -> None:
    """Users' complaint: the re-INVITE of a session timer was not answered, and the carrier dropped calls at 15 min."""

    async def test(one: Live) -> None:
        ran = await sipp(one, "refresh", tmp_path, transport=transport)
        described = [answer for answer in ran.received_with("SIP/2.0 200") if "\no=" in answer]
        assert len(described) == 4
        # What says the same has the same version (RFC 3264 8); the last one is our own offer, of all that we speak.
        del described[-1]
        origins = {line for answer in described for line in answer.splitlines() if line.startswith("o=")}
        assert len(origins) == 1
        assert (await ended_call(one))["end"]["reason"] == "caller_hung_up"

    run(test, app=accept)


# -- transfers


def test_a_transfer_is_followed_to_its_answer_shown_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users' complaint: refer answered 200, no REFER on the wire, no event, and the caller sat in silence."""
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        ran = await sipp(one, "refer_answered", tmp_path)
        (bye,) = ran.received_with("BYE")
        assert header(bye, "Reason") == ['SIP;cause=200;text="transferred"']
        record = await ended_call(one)
        assert record["refer"] == {"target_uri": TARGET, "status": 200, "detail": "OK", "final": True}
        assert (record["end"]["result"], record["end"]["by"]) == ("transferred", "application")
        told = [fact.split("status=")[1] for fact in facts(caplog, "transfer ") if "status=" in fact]
        assert told == [
            "202 detail=Accepted final=False",
            "100 detail=Trying final=False",
            "180 detail=Ringing final=False",
            "200 detail=OK final=True",
        ]

    run(test, app=transfer)


@pytest.mark.parametrize(
    ("scenario", "status", "detail"),
    [("refer_declined", 603, "Decline"), ("refer_405", 405, "Method Not Allowed")],
)
def test_a_transfer_that_fails_says_why_and_the_call_goes_on(
    scenario: str, status: int, detail: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Users' complaint: a cold transfer ends in 603, and there is no way to see why."""
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        async with calling(one, scenario, tmp_path) as (event, _):
            call_id = event.data.call_id
            url = one.ready.http.replace("http", "ws") + f"/v1/realtime?call_id={call_id}&offhook_events=1"
            async with connect(url, additional_headers={"authorization": f"Bearer {KEY}"}) as connection:
                await transfer(one, event)
                refer: dict[str, Any] = {"final": False}
                while not refer["final"]:
                    news = json.loads(await asyncio.wait_for(connection.recv(), PATIENCE_S))
                    refer = news["refer"] if news["type"] == "offhook.refer.updated" else refer
            assert refer == {"target_uri": TARGET, "status": status, "detail": detail, "final": True}
            record = await one.record(call_id)
            assert (record["state"], record["refer"]) == ("answered", refer)
            assert f"status={status}" in facts(caplog, "transfer ")[-1]
            await one.calls.hangup(call_id)
        assert (await one.record(call_id))["end"]["result"] == "completed"

    run(test)


def test_a_trunk_that_takes_the_caller_over_with_a_bye_has_transferred_it(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        await sipp(one, "refer_taken", tmp_path)
        end = (await ended_call(one))["end"]
        assert (end["result"], end["by"]) == ("transferred", "caller")
        assert "Call completed elsewhere" in end["detail"]

    run(test, app=transfer)


# -- trunks with habits


def test_behind_proxies_our_bye_takes_their_route(tmp_path: Path) -> None:
    """Users' complaint: requests of the server inside a call were routed to itself, and got 405."""

    async def test(one: Live) -> None:
        async with calling(one, "proxied", tmp_path) as (event, ran):
            await stand(one, event)
            await one.calls.hangup(event.data.call_id)
        (bye,) = ran.result().received_with("BYE")
        assert bye.startswith("BYE sip:sipp@203.0.113.99:5999 SIP/2.0")
        inner, outer = header(bye, "Route")
        assert inner.startswith("<sip:127.0.0.1:")
        assert outer == "<sip:outer@203.0.113.77;lr>"

    run(test)


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_a_contact_with_its_transport_twice_is_no_reason_to_refuse(transport: str, tmp_path: Path) -> None:
    """Users' complaint: 403 at the INVITE because of a doubled ;transport=tls in the Contact, without a hint."""

    async def test(one: Live) -> None:
        async with calling(one, "odd_contact", tmp_path, transport=transport) as (event, _):
            await stand(one, event)
            await one.calls.hangup(event.data.call_id)

    run(test)
