"""What users of other voice servers complained about, tried on a whole server.

Each test is named after a symptom. Complaints about SIP itself are tried by SIPp and baresip in ``tests/interop``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import socket
import weakref
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError
from tests.socket.live import PATIENCE_S, Incoming, Live, Socket, hurry, run, run_jumping, until
from tests.socket.model_server import Received, Reply
from websockets.exceptions import ConnectionClosedOK

from offhook.audio.tone import TONES, find_tones, tone
from offhook.config import ProjectConfig
from offhook.host import directory
from offhook.model.cascade import Cascade
from offhook.model.interface import ModelOutput
from offhook.model.scripted import ScriptedEar, ScriptedVoice
from offhook.session.inputs import GenerationFinished, TextProduced
from offhook.session.outputs import Generate
from offhook.sip import output as sip
from offhook.sip.agent import UserAgent
from offhook.testing.hearing import AUDIBLE_GAP_MS
from offhook.testing.phone import CallFailedError, PhoneCall
from offhook.testing.voice import voice


async def accept(one: Live, event: Incoming) -> None:
    await one.calls.accept(event.data.call_id, type="realtime")


# -- set-up, webhooks, errors that lie


def test_calls_are_not_lost_while_the_webhook_endpoint_is_slow() -> None:
    """An endpoint that has not answered yet keeps the caller neither from ringing nor from being answered."""

    async def test(one: Live) -> None:
        bodies: asyncio.Queue[bytes] = asyncio.Queue()
        waiting: set[asyncio.StreamWriter] = set()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            waiting.add(writer)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].partition(b"\r")[0])
            bodies.put_nowait(await reader.readexactly(size))
            await reader.read()  # and never an answer
            writer.transport.abort()
            waiting.remove(writer)

        async with await asyncio.start_server(take, "127.0.0.1", 0) as endpoint:
            one.redirect_webhooks(f"http://127.0.0.1:{endpoint.sockets[0].getsockname()[1]}/")
            call = await one.dial()
            event = json.loads(await asyncio.wait_for(bodies.get(), PATIENCE_S))
            await one.calls.accept(event["data"]["call_id"], type="realtime")
            await call.answered()
            assert call.ringing_at is not None
            await until(lambda: not waiting)

    run(test, webhook_seconds=1)


def test_a_webhook_that_fails_at_first_still_leads_to_an_accepted_call() -> None:
    replies = iter([Reply([], 503)])

    def hook(_: Received) -> Reply:
        return next(replies, Reply([b""]))

    async def test(one: Live) -> None:
        call = await one.dial()
        await call.answered()
        (record,) = (await one.http("GET", "/offhook/v1/calls")).json()["data"]
        assert [each["status"] for each in record["webhook"]][:1] == [503]
        assert record["state"] == "answered"

    run_jumping(test, hook=hook, app=accept)


def test_after_a_refused_accept_the_sideband_does_not_say_call_id_not_found() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        with pytest.raises(BadRequestError) as caught:
            await one.calls.accept(call_id, type="realtime", output_modalities=["text", "audio"])
        assert caught.value.param == "session.output_modalities"
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await one.calls.accept(call_id, type="realtime")
            await call.answered()
            await connection.response.create()
            await Socket(connection).until("response.done")

    run_jumping(test)


def test_the_sideband_learns_that_the_callers_line_is_dead() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            one.phone.plane.close_leg(call.name)  # the telephone falls silent without a BYE
            with pytest.raises(ConnectionClosedOK) as caught:
                await Socket(connection).until("nothing of this type is ever sent")
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.reason == "media_timeout"

    run_jumping(test, media_seconds=0.5)


def test_calls_can_be_taken_without_a_public_webhook() -> None:
    async def test(one: Live) -> None:
        call = await one.dial()
        await until(lambda: call.ringing_at is not None)
        (record,) = (await one.http("GET", "/offhook/v1/calls")).json()["data"]
        assert (record["state"], record["webhook"]) == ("ringing", [])
        await one.calls.accept(record["id"], type="realtime")
        await call.answered()
        assert one.hooks.received == []

    run_jumping(test, webhook_url=None)


def test_the_id_that_the_webhook_brings_is_the_one_for_every_action_and_for_the_socket() -> None:
    """Which id goes where had to be found out: the session's own id is none of a call's."""

    async def test(one: Live) -> None:
        call = await one.dial()
        event = await asyncio.wait_for(one.incoming.get(), PATIENCE_S)
        call_id = event.data.call_id
        await one.calls.accept(call_id, type="realtime")
        await call.answered()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await connection.session.update(session={"type": "realtime"})
            session_id = (await Socket(connection).until("session.updated"))[-1]["session"]["id"]
            assert (call_id[:4], session_id[:5]) == ("rtc_", "sess_")
            with pytest.raises(NotFoundError) as caught:
                await one.calls.hangup(session_id)
            assert caught.value.code == "call_id_not_found"
            await one.calls.hangup(call_id)

    run_jumping(test)


# -- refusals without a reason


def test_a_caller_outside_the_allow_list_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trunk:
            trunk.bind(("127.0.0.1", 0))
            for _ in range(3):
                trunk.sendto(b"INVITE sip:agent@127.0.0.1 SIP/2.0\r\n\r\n", one.server.sip.address)
            await until(lambda: one.server.agent.counters.dropped_source == 3)
            (fact,) = [each for each in caplog.messages if each.startswith("request dropped")]
            assert f"source=127.0.0.1:{trunk.getsockname()[1]}" in fact
            assert "allow-list" in fact

    run(test, allow=["192.0.2.0/24"])


def test_a_call_for_nobody_is_refused_with_the_reason_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "offhook")

    async def test(one: Live) -> None:
        with pytest.raises(CallFailedError, match="404"):
            await (await one.dial("proj_c")).answered()
        (fact,) = [each for each in caplog.messages if each.startswith("call refused")]
        assert "status=404" in fact
        assert "names no project" in fact

    run_jumping(test, projects=(ProjectConfig("proj_a", ("sk-a",)), ProjectConfig("proj_b", ("sk-b",))))


# -- many calls


@pytest.mark.real_time(reruns=3)
def test_audio_does_not_lag_from_the_third_concurrent_call_on() -> None:
    """A server that does not keep up stretches what it plays: every caller hears two seconds in two seconds."""

    async def answer(one: Live) -> PhoneCall:
        call = await one.dial()
        await call.answered()
        await call.say(voice(800))
        await call.hears_sound()
        await call.hears_silence(500)
        return call

    def flaw(call: PhoneCall) -> str | None:
        # A voice that a stall has torn in two is two turns, and the answer to the second is heard whole.
        tones = find_tones(call.heard)
        if not tones:
            return "heard nothing"
        heard = tones[-1]
        stretched = abs(heard.end_ms - heard.start_ms - 2000) > AUDIBLE_GAP_MS
        return f"heard {heard}" if stretched or heard.longest_gap_ms > AUDIBLE_GAP_MS else None

    async def test(one: Live) -> None:
        for count in (1, 4):
            calls = await asyncio.gather(*(answer(one) for _ in range(count)))
            flaws = [found for call in calls if (found := flaw(call))]
            for call in calls:
                await call.hang_up()
            assert not flaws

    run(test, app=accept)


def test_how_many_calls_fit_is_answered_by_the_server_itself() -> None:
    """Users' question without an answer: how many calls a core holds. It is found out by what calls cost here."""

    async def test(one: Live) -> None:
        before = (await one.http("GET", "/health")).json()["calls"]
        assert before["limit"] > 1
        await one.talk()
        held = (await one.http("GET", "/health")).json()["calls"]
        assert (held["active"], held["refused"], held["limited_by"]) == (1, 0, None)

    run(test)


def test_a_server_for_one_call_takes_one_call_at_a_time() -> None:
    async def test(one: Live) -> None:
        for _ in range(2):
            first = await one.dial()
            await first.answered()
            others = [await one.dial() for _ in range(3)]
            for other in others:
                with pytest.raises(CallFailedError, match="503"):
                    await other.answered()
            assert first.end is None
            await first.hang_up()
            await until(lambda: one.server.directory.calls == 0)
        assert one.server.directory.total == 2

    run_jumping(test, app=accept, max_calls=1)


def test_memory_is_released_when_calls_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a call held (its sound, its conversation) goes with it; the record stays while the call is listed."""
    monkeypatch.setattr(directory, "MAX_ENDED", 2)
    owners: list[weakref.ref[Any]] = []
    belongings: list[weakref.ref[Any]] = []

    async def talk(one: Live) -> None:
        call, call_id = await one.talk()
        (owner,) = one.server.directory.active
        owners.append(weakref.ref(owner))
        belongings.extend([weakref.ref(owner.line), weakref.ref(owner.call.engine)])
        del owner
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await connection.response.create()
            await Socket(connection).until("output_audio_buffer.started")
            await call.hang_up()

    async def test(one: Live) -> None:
        for _ in range(4):
            await talk(one)
        await until(lambda: one.server.plane.load().legs == 0 and not one.server.lines._owners)
        gc.collect()
        assert [held() for held in belongings] == [None] * 8
        assert [owner() for owner in owners] == [None] * 4
        listed = (await one.http("GET", "/offhook/v1/calls")).json()["data"]
        assert [record["end"]["reason"] for record in listed] == ["caller_hung_up"] * 2

    run_jumping(test)


def test_a_call_that_is_over_is_gone_without_a_collection_of_garbage() -> None:
    """Collections were a sixth of what a short call cost: its parts knew each other, and nobody took them apart."""

    async def test(one: Live) -> None:
        call, _ = await one.talk()
        (owner,) = one.server.directory.active
        await until(lambda: one.server.plane.load().legs == 1)
        (leg,) = one.server.plane._legs.values()
        parts = (owner, owner.call.engine, owner.line, owner.call, owner.invitation.leg, owner._conversing, leg)
        held = [weakref.ref(part) for part in parts if type(part).__weakrefoffset__]
        assert len(held) >= 5
        del owner, leg, parts
        gc.collect()
        gc.disable()
        try:
            await call.hang_up()
            await until(lambda: one.server.plane.load().legs == 0 and not one.server.lines._owners)
            assert [part() for part in held] == [None] * len(held)
        finally:
            gc.enable()

    run_jumping(test)


def test_transactions_that_end_one_after_the_other_are_forgotten_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute after a busy moment the server woke a dozen times for every call that there had been."""
    wakes: list[float] = []
    advance = UserAgent.advance

    def counted(agent: UserAgent, now: float) -> list[sip.Output]:
        if agent is server.agent:
            wakes.append(now)
        return advance(agent, now)

    async def test(one: Live) -> None:
        nonlocal server
        server = one.server
        calls = []
        for _ in range(20):
            calls.append(await one.dial())
            await calls[-1].answered()
        for call in calls:
            await call.hang_up()
            await asyncio.sleep(0.002)
        await until(lambda: server.directory.calls == 0)
        wakes.clear()
        await until(lambda: server.agent.is_idle)
        assert 0 < len(wakes) <= 40
        assert min(later - wake for wake, later in pairwise(wakes)) >= 0.0099

    server: Any = None
    hurry(monkeypatch, t1_s=0.03, t2_s=0.24)
    monkeypatch.setattr(UserAgent, "advance", counted)
    run_jumping(test, app=accept)


def test_nothing_goes_on_after_the_caller_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users saw a core spin after a hang-up: no task, no timer, no leg of the audio plane, no port may be left.

    With T1 of 30 ms instead of 500 the last transaction is forgotten after 2 s instead of 32 (RFC 6026 7.1).
    """
    hurry(monkeypatch, t1_s=0.03, t2_s=0.24)

    async def test(one: Live) -> None:
        await one.http("GET", "/health")
        before = asyncio.all_tasks()
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await call.say(voice(800))
            await Socket(connection).until("output_audio_buffer.started")
            await call.hang_up()
        server = one.server
        await until(lambda: server.agent.is_idle and server.plane.load().legs == 0)
        await until(lambda: server.lines.ports.in_use == 0)
        assert server.plane.load().vad_queued == 0
        assert not server.plane.has_urgent
        await one.sdk.close()
        await until(lambda: asyncio.all_tasks() == before)

    run_jumping(test)


def test_an_echo_line_stops_its_urgent_work_with_the_call() -> None:
    async def test(one: Live) -> None:
        call = await one.dial()
        await call.answered()
        await call.say(tone(7, 200))
        assert one.server.plane.has_urgent
        await call.hang_up()
        await until(lambda: not one.server.plane.has_urgent)

    run_jumping(test, answer="echo")


# -- transcripts


class Teller:
    """A language model that says three sentences, each a little later than the one before."""

    name = "teller"
    sentences = ("We open at nine. ", "We close at five. ", "On Sundays we are closed. ")

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        for sentence in self.sentences:
            yield TextProduced(request.run, sentence)
            await asyncio.sleep(0)
        yield GenerationFinished(request.run)


TELLS = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}


def telling(test: Any) -> None:
    """Run a test on a call whose model tells three sentences, each spoken as a tone of its length."""

    async def whole(one: Live) -> None:
        call, call_id = await one.talk(TELLS)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await call.say(voice(900))
            await test(call, Socket(connection))

    run_jumping(whole, backend=Cascade("x", ScriptedEar(), Teller(), ScriptedVoice()))


def test_no_word_that_is_spoken_is_missing_from_the_transcript() -> None:
    async def test(call: PhoneCall, socket: Socket) -> None:
        response = (await socket.until("response.done"))[-1]["response"]
        await socket.until("output_audio_buffer.stopped")
        await call.hears_silence(200)
        said = response["output"][0]["content"][0]["transcript"]
        deltas = [each["delta"] for each in socket.events if each["type"] == "response.output_audio_transcript.delta"]
        assert said == "".join(deltas) == "".join(Teller.sentences)
        tones = [len(sentence) % TONES for sentence in Teller.sentences]
        assert [each.number for each in find_tones(call.heard, bridge_ms=400)] == tones, "every sentence is heard"

    telling(test)


def test_the_callers_words_come_before_the_answers_and_the_answers_before_it_has_been_spoken() -> None:
    """Users saw the answer's transcript before their own, and all of its deltas after the end of the sound."""

    async def test(call: PhoneCall, socket: Socket) -> None:
        await socket.until("output_audio_buffer.stopped")
        kinds = [event["type"] for event in socket.events]
        delta = "response.output_audio_transcript.delta"
        assert kinds.index("conversation.item.input_audio_transcription.completed") < kinds.index(delta)
        assert kinds.index(delta) < kinds.index("output_audio_buffer.started")
        assert len(kinds) - 1 - kinds[::-1].index(delta) < kinds.index("output_audio_buffer.stopped")

    telling(test)
