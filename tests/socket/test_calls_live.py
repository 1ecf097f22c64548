"""Calls over real sockets: SIP on one side, the unmodified official SDK on the other, and both agree."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from openai import (
    AuthenticationError,
    BadRequestError,
    NotFoundError,
)
from tests.socket.live import KEY, Live, Socket, run, run_jumping, until
from tests.socket.model_server import Reply
from tests.socket.raw_caller import raw_caller
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from offhook.audio.tone import find_tones, tone
from offhook.call.journal import read_journal, replay
from offhook.config import ProjectConfig
from offhook.net.http import HttpOptions
from offhook.session.engine import Engine
from offhook.session.inputs import ClientSent, DigitPressed
from offhook.session.inputs import Input as SessionInput
from offhook.session.outputs import Output as SessionOutput
from offhook.sip.message import Response
from offhook.testing.phone import CallFailedError
from offhook.wire.client_events import ClientEvent
from offhook.wire.decode import decode_client_event


def test_a_call_is_announced_accepted_and_hung_up() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.ring(headers=[("X-Trunk", "a"), ("x-trunk", "B"), ("Diversion", "<sip:+1555@x>")])
        received = one.hooks.received[0]
        assert received.json["type"] == "realtime.call.incoming"
        headers = [(each["name"], each["value"]) for each in received.json["data"]["sip_headers"]]  # type: ignore[index]
        assert [pair for pair in headers if pair[0].lower() in {"x-trunk", "diversion"}] == [
            ("X-Trunk", "a"),
            ("x-trunk", "B"),
            ("Diversion", "<sip:+1555@x>"),
        ]
        assert [name for name, _ in headers][:1] == ["Via"]
        assert await one.calls.accept(call_id, type="realtime") is None
        await call.answered()
        assert call.ringing_at is not None
        record = await one.record(call_id)
        assert (record["state"], record["end"]) == ("answered", None)
        assert await one.calls.hangup(call_id) is None
        end = await call.ended()
        assert end.by == "them"
        assert "application_hung_up" in end.reason
        record = await one.record(call_id)
        assert record["end"]["result"] == "completed"
        assert record["end"]["by"] == "application"

    run(test)


def test_accept_is_answered_with_an_empty_body_and_a_request_id() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        for prefix in ("/v1", "", "/openai/v1"):
            answer = await one.http("POST", f"{prefix}/realtime/calls/{call_id}/accept", json={"type": "realtime"})
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["x-request-id"].startswith("req_")
        await call.hang_up()

    run(test)


@pytest.mark.parametrize(("given", "status"), [({}, 603), ({"status_code": 486}, 486), ({"status_code": 699}, 699)])
def test_reject_gives_the_caller_the_status(given: dict[str, int], status: int) -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        await one.calls.reject(call_id, **given)
        with pytest.raises(CallFailedError) as caught:
            await call.answered()
        assert caught.value.status == status
        with pytest.raises(NotFoundError):
            await one.calls.reject(call_id, **given)

    run(test)


def test_accept_of_an_invalid_body_says_which_field_and_the_call_keeps_ringing() -> None:
    """Users' complaint: accept answered 200 to an invalid body, then the caller's leg died without a reason."""

    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        with pytest.raises(BadRequestError) as caught:
            await one.calls.accept(call_id, type="realtime", max_output_tokens=4097)
        assert (caught.value.param, caught.value.code) == ("session.max_output_tokens", "invalid_value")
        assert caught.value.request_id
        with pytest.raises(BadRequestError) as caught:
            await one.calls.accept(call_id, type="realtime", extra_body={"voice": "ash"})
        assert (caught.value.param, caught.value.code) == ("session.voice", "unknown_parameter")
        assert call.end is None
        await one.calls.accept(call_id, type="realtime")
        await call.answered()

    run(test)


def test_vad_settings_are_taken_on_accept() -> None:
    """Users' complaint: the hosted service refuses them on telephone calls."""

    async def test(one: Live) -> None:
        detection = {"type": "server_vad", "threshold": 0.6, "prefix_padding_ms": 200, "silence_duration_ms": 300}
        _, call_id = await one.talk({"audio": {"input": {"turn_detection": detection}}})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.session.update(session={"type": "realtime"})
            (updated,) = await socket.until("session.updated")
            assert updated["session"]["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 300

    run(test)


def test_an_integer_of_400_digits_is_refused_by_its_name() -> None:
    """It was 500 on accept, and on a socket the connection broke without a word."""
    huge = "1" + "0" * 400

    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        path = f"/v1/realtime/calls/{call_id}/accept"
        answer = await one.http("POST", path, content=f'{{"type": "realtime", "max_output_tokens": {huge}}}')
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "session.max_output_tokens"
        await one.calls.accept(call_id, type="realtime")
        await call.answered()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection._connection.send(
                f'{{"type": "response.create", "event_id": "e1", "response": {{"max_output_tokens": {huge}}}}}'
            )
            (refused,) = await socket.until("error")
            assert refused["error"]["param"] == "response.max_output_tokens"
            await connection.session.update(session={"type": "realtime"})
            await socket.until("session.updated")

    run(test)


def test_a_deeply_nested_tool_is_refused_and_the_call_goes_on() -> None:
    """What could be read but not written back ended the call with a RecursionError."""

    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            for depth in (100, 900, 960, 975, 979):
                deep = '{"a":' * depth + "1" + "}" * depth
                tool = f'{{"type": "function", "name": "f", "parameters": {deep}}}'
                await connection._connection.send(
                    f'{{"type": "session.update", "session": {{"type": "realtime", "tools": [{tool}]}}}}'
                )
                (refused,) = await socket.until("error")
                assert refused["error"]["code"] in {"invalid_value", "invalid_json"}
        assert call.end is None

    run(test)


def test_a_bug_met_by_a_clients_event_is_told_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: str | bytes) -> ClientEvent:
        raise KeyError("a bug")

    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            monkeypatch.setattr("offhook.host.owner.decode_client_event", broken)
            await connection.response.create()
            with pytest.raises(ConnectionClosedError) as caught:
                await Socket(connection).receive()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011
        assert call.end is None

    run(test)
    assert [record for record in caplog.records if "client event failed" in record.message]


@pytest.mark.parametrize("action", ["accept", "reject", "refer", "hangup"])
def test_an_unknown_call_is_404_with_the_known_code(action: str) -> None:
    async def test(one: Live) -> None:
        bodies = {"accept": {"type": "realtime"}, "refer": {"target_uri": "tel:1"}}
        with pytest.raises(NotFoundError) as caught:
            await getattr(one.calls, action)("rtc_unknown", **bodies.get(action, {}))
        assert caught.value.code == "call_id_not_found"
        assert caught.value.param == ""
        assert caught.value.message.endswith("No session found for the provided call_id")

    run(test)


def test_after_the_caller_gave_up_accept_is_404() -> None:
    """Users' complaint: calls accepted although the caller had gone."""

    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        await call.hang_up()
        with pytest.raises(NotFoundError):
            await one.calls.accept(call_id, type="realtime")
        assert (await one.record(call_id))["end"]["reason"] == "caller_cancelled"

    run_jumping(test)


@pytest.mark.parametrize("key", [None, "sk-wrong", ""])
def test_a_wrong_key_is_401(key: str | None) -> None:
    async def test(one: Live) -> None:
        _, call_id = await one.ring()
        answer = await one.http("POST", f"/v1/realtime/calls/{call_id}/hangup", key=key)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
        with pytest.raises(AuthenticationError):
            await one.sdk.with_options(api_key="sk-wrong").realtime.calls.hangup(call_id)

    run(test)


def test_another_projects_call_does_not_exist() -> None:
    async def test(one: Live) -> None:
        # Both projects share the server; the request URI's user part chooses.
        call = await one.dial("proj_b")
        event = await asyncio.wait_for(one.incoming.get(), 10)
        with pytest.raises(NotFoundError):
            await one.sdk.with_options(api_key="sk-a").realtime.calls.accept(event.data.call_id, type="realtime")
        await one.sdk.with_options(api_key="sk-b").realtime.calls.accept(event.data.call_id, type="realtime")
        await call.answered()
        lost = await one.dial("proj_c")
        with pytest.raises(CallFailedError) as caught:
            await lost.answered()
        assert caught.value.status == 404

    run(test, projects=(ProjectConfig("proj_a", ("sk-a",)), ProjectConfig("proj_b", ("sk-b",))))


@pytest.mark.real_time(reruns=3)
def test_an_answer_is_heard_whole_and_without_a_gap() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk({"audio": {"input": {"transcription": {"model": "whisper-1"}}}})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            await call.hears_sound()
            events = await socket.until("response.done")
            assert "response.output_audio.delta" not in {event["type"] for event in events}
            await socket.until("output_audio_buffer.stopped")
            await call.hears_silence(200)
            heard = find_tones(call.heard)
            assert [(found.number, found.longest_gap_ms) for found in heard] == [(1, 0)]
            assert abs(heard[0].end_ms - heard[0].start_ms - 2000) <= 20

    run(test)


def test_a_sideband_hears_nothing_first_and_is_closed_in_good_order_at_the_end() -> None:
    """Users' complaint: the socket dies at once when the caller hangs up, and pending events are lost."""

    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.response.create()
            await socket.until("output_audio_buffer.started")
            await call.hang_up()
            with pytest.raises(ConnectionClosedOK) as caught:
                await socket.until("nothing of this type is ever sent")
            assert caught.value.rcvd is not None
            assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1000, "caller_hung_up")
            types = [event["type"] for event in socket.events]
            assert types[0] == "response.created"
            assert types.count("response.done") == 1

    run_jumping(test)


def test_a_sideband_may_be_opened_from_the_webhook_on() -> None:
    """Users' complaint: 404 when attaching by call_id before the call stands."""

    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.session.update(session={"type": "realtime", "instructions": "Early."})
            await one.calls.accept(call_id, type="realtime")
            await call.answered()
            (updated,) = await socket.until("session.updated")
            assert updated["session"]["instructions"] == "Early."

    run_jumping(test)


def test_what_is_said_too_much_while_it_rings_is_refused_by_name_and_the_rest_is_heard() -> None:
    """It waits in memory for a session that may never come, so there is an end to it; nothing is lost in silence."""

    async def test(one: Live) -> None:
        call, call_id = await one.ring()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            for number in range(1, 6):
                part = {"type": "input_text", "text": str(number) * 600_000}
                item = {"type": "message", "role": "user", "content": [part]}
                event: Any = {"type": "conversation.item.create", "event_id": f"e{number}", "item": item}
                await connection.send(event)
            for number in (4, 5):
                (refused,) = await socket.until("error")
                assert refused["error"]["code"] == "rate_limit_exceeded"
                assert refused["error"]["event_id"] == f"e{number}"
            assert (await one.record(call_id))["early_events_refused"] == 2
            await one.calls.accept(call_id, type="realtime")
            await call.answered()
            for number in (1, 2, 3):
                added = (await socket.until("conversation.item.added"))[-1]
                assert added["item"]["content"][0]["text"][0] == str(number)

    run_jumping(test)


def test_several_sidebands_hear_everything_and_errors_go_to_the_one_who_erred() -> None:
    async def test(one: Live) -> None:
        _, call_id = await one.talk()
        connect = one.sdk.realtime.connect
        async with connect(call_id=call_id) as first, connect(call_id=call_id) as second:
            a, b = Socket(first), Socket(second)
            await second.response.cancel()
            (refused,) = await b.until("error")
            assert refused["error"]["code"] == "response_cancel_not_active"
            await first.response.create()
            await a.until("response.done")
            await b.until("response.done")
            assert [event["event_id"] for event in a.events] == [event["event_id"] for event in b.events[1:]]

    run_jumping(test)


def test_a_burst_of_events_does_not_close_the_socket_of_a_client_that_reads() -> None:
    """3,000 events in a row were read and answered before the first answer was written: closed as too slow."""

    async def test(one: Live) -> None:
        _, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            raw = connection._connection
            burst = [json.dumps({"type": "response.cancel", "event_id": str(number)}) for number in range(3000)]

            async def read() -> list[str]:
                events = [json.loads(await raw.recv()) for _ in burst]
                return [event["error"]["event_id"] for event in events]

            reading = asyncio.ensure_future(read())
            for text in burst:
                await raw.send(text)
            assert await reading == [str(number) for number in range(3000)]

    run_jumping(test)


def test_a_sideband_that_is_not_read_is_let_go_after_the_call() -> None:
    """Its connection stood minutes after the caller had hung up."""

    async def test(one: Live) -> None:
        one.server.http.options = HttpOptions(stalled_s=0.3)
        call, call_id = await one.talk()
        host, port = one.ready.http.removeprefix("http://").split(":")
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        deaf.sendall(
            f"GET /v1/realtime?call_id={call_id} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n"
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
            f"sec-websocket-key: {base64.b64encode(b'0' * 16).decode()}\r\n\r\n".encode()
        )
        (owner,) = one.server.directory.active
        await until(lambda: bool(owner._sidebands))
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            reading = Socket(connection)
            for _ in range(20):
                await connection.session.update(session={"type": "realtime", "instructions": "x" * 500_000})
                await reading.until("session.updated")
            await call.hang_up()
        await one.sdk.close()
        await until(lambda: not owner._sidebands and not one.server.http.connections)
        deaf.close()

    run(test)


def test_closing_the_sideband_does_not_end_the_call() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id):
            pass
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await connection.response.create()
            await call.hears_sound()
        assert call.end is None

    run_jumping(test)


@pytest.mark.parametrize(
    ("query", "status", "key"),
    [
        ("?call_id=rtc_x", 404, "sk-test"),
        ("?call_id=rtc_x", 401, "sk-no"),
        ("?call_id=", 400, "sk-test"),
        ("", 401, "sk-no"),
    ],
)
def test_a_socket_that_cannot_be_is_refused_before_it_opens(
    query: str, status: int, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    from websockets.asyncio.client import connect

    async def test(one: Live) -> None:
        url = one.ready.http.replace("http", "ws") + "/v1/realtime" + query
        with pytest.raises(InvalidStatus) as caught:
            async with connect(url, additional_headers={"authorization": f"Bearer {key}"}):
                pass
        assert caught.value.response.status_code == status
        assert b'"error"' in caught.value.response.body

    run(test)
    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_browsers_give_their_key_as_a_subprotocol_and_never_get_it_back() -> None:
    from websockets.asyncio.client import connect

    async def test(one: Live) -> None:
        _, call_id = await one.talk()
        url = one.ready.http.replace("http", "ws") + f"/v1/realtime?call_id={call_id}"
        protocols = ["realtime", "openai-insecure-api-key.sk-test", "openai-agents-sdk.0.1"]
        async with connect(url, subprotocols=protocols) as connection:  # type: ignore[arg-type]
            assert connection.subprotocol == "realtime"

    run(test)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "invalid_json"),
        ('{"type": "session.upgrade", "event_id": "e9"}', "invalid_value"),
        ('{"type": "session.update", "session": {"voice": "ash"}, "event_id": "e9"}', "missing_required_parameter"),
        (b"\x00\xff", "invalid_json"),
    ],
)
def test_a_message_that_is_no_event_is_answered_and_the_socket_stays_open(text: str | bytes, code: str) -> None:
    async def test(one: Live) -> None:
        _, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection._connection.send(text)
            (refused,) = await socket.until("error")
            assert refused["error"]["code"] == code
            assert refused["error"]["event_id"] == ("e9" if b"e9" in str(text).encode() else None)
            await connection.session.update(session={"type": "realtime"})
            await socket.until("session.updated")

    run(test)


def test_keys_pressed_on_the_phone_arrive_as_events() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            call.press("5#")
            for digit in "5#":
                (event,) = await socket.until("input_audio_buffer.dtmf_event_received")
                assert event["event"] == digit

    run_jumping(test)


def test_a_dead_webhook_ends_with_the_configured_status_and_every_attempt_is_told() -> None:
    """Users' complaint: callers heard a failure, and nobody could tell that the webhook was never answered."""

    async def test(one: Live) -> None:
        call = await one.dial()
        with pytest.raises(CallFailedError) as caught:
            await call.answered()
        assert caught.value.status == 408
        listed = (await one.http("GET", "/offhook/v1/calls")).json()["data"]
        assert listed[0]["end"]["reason"] == "ring_timeout"
        assert [(each["attempt"], each["status"]) for each in listed[0]["webhook"]][:2] == [(1, 500), (2, 500)]

    run_jumping(test, hook=lambda _: Reply([b"no"], 500), ring_seconds=1.5, ring_status=408)


def test_a_handler_may_accept_inside_the_webhook() -> None:
    async def accept(one: Live, event: object) -> None:
        await one.calls.accept(event.data.call_id, type="realtime")  # type: ignore[attr-defined]

    async def test(one: Live) -> None:
        call = await one.dial()
        await call.answered()

    run(test, app=accept)


def test_the_callers_silence_on_the_wire_ends_the_call() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        # The telephone stops sending without saying so, as one that lost its network does.
        one.phone.plane.close_leg(call.name)
        await call.ended()
        assert (await one.record(call_id))["end"]["reason"] == "media_timeout"

    run_jumping(test, media_seconds=0.5)


def test_an_echo_test_line_needs_no_model() -> None:
    async def test(one: Live) -> None:
        call = await one.dial()
        await call.answered()
        await call.say(tone(7, 600))
        await call.hears_silence(200)
        assert [found.number for found in find_tones(call.heard)] == [7]

    run_jumping(test, answer="echo")


def test_the_jitter_buffer_starts_as_deep_as_was_set() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        await call.say(tone(1, 60))
        assert one.server.plane.stats(call_id).depth_ms == 120

    run_jumping(test, jitter_ms=120)


def test_a_session_ends_at_its_cap_with_the_known_close() -> None:
    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            with pytest.raises(Exception, match=r"maximum duration of 1 second\."):
                await asyncio.wait_for(connection.recv_bytes(), 10)
        await call.ended()

    run_jumping(test, session_seconds=1)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("192.0.2.1:5080", "sip:192.0.2.1:5080"),
        ("[2001:db8::1]:5080", "sip:[2001:db8::1]:5080"),
        ("192.0.2.1", "sip:192.0.2.1:{port}"),
        ("2001:db8::1", "sip:[2001:db8::1]:{port}"),
    ],
)
def test_the_public_address_is_told_as_a_sip_address(given: str, told: str) -> None:
    async def test(one: Live) -> None:
        assert one.ready.sip == told.format(port=one.server.sip.address[1])

    run(test, public_address=given)


def test_health_says_what_runs_and_needs_no_key() -> None:
    async def test(one: Live) -> None:
        await one.talk()
        health = (await one.http("GET", "/health", key=None)).json()
        assert health["status"] == "ok"
        assert health["calls"]["active"] == 1
        assert health["models"] == {"name": "scripted"}

    run(test)


def test_an_unknown_route_or_method_is_told_as_an_error_of_the_api() -> None:
    """Such requests got plain text, and sockets 403 without a body; SDKs read the message from JSON."""
    from websockets.asyncio.client import connect

    async def test(one: Live) -> None:
        for method, path, status, code in (
            ("POST", "/v1/realtime/calls", 404, "unknown_url"),
            ("GET", "/v1/files", 404, "unknown_url"),
            ("POST", "/v2/realtime/calls/x/accept", 404, "unknown_url"),
            ("POST", "/v1/realtime/calls/accept", 404, "unknown_url"),
            ("POST", "/v1/realtime/calls/x/answer", 404, "unknown_url"),
            ("GET", "/v1/realtime/calls/x/hangup", 405, "method_not_allowed"),
            ("PUT", "/openai/v1/realtime/calls/x/accept", 405, "method_not_allowed"),
            ("DELETE", "/health", 405, "method_not_allowed"),
        ):
            answer = await one.http(method, path)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
            assert path in error["message"]
            assert answer.headers["x-request-id"].startswith("req_")
            assert ("allow" in answer.headers) is (status == 405)
        with pytest.raises(InvalidStatus) as caught:
            async with connect(one.ready.http.replace("http", "ws") + "/v1/realtimes?call_id=x"):
                pass
        assert caught.value.response.status_code == 404
        assert json.loads(caught.value.response.body)["error"]["code"] == "unknown_url"

    run(test)


def test_a_call_that_is_not_there_is_told_by_every_action_and_way() -> None:
    async def test(one: Live) -> None:
        for prefix, call_id, action in product(
            ("/v1", "", "/openai/v1"), ("x", "x/y", "", "accept"), ("accept", "reject", "refer", "hangup")
        ):
            path = f"{prefix}/realtime/calls/{call_id}/{action}"
            answer = await one.http("POST", path, content=b"{")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "call_id_not_found")
            assert answer.headers["x-request-id"].startswith("req_")
        assert (await one.http("POST", path, content=b"{", key=None)).status_code == 401

    run(test)


def test_a_body_without_end_is_refused() -> None:
    async def test(one: Live) -> None:
        _, call_id = await one.ring()
        answer = await one.http("POST", f"/v1/realtime/calls/{call_id}/accept", content=b"x" * 3_000_000)
        assert answer.status_code == 413

    run(test)


def test_a_call_that_ends_while_the_agent_speaks_leaves_no_file_open(tmp_path: Path) -> None:
    async def test(one: Live) -> None:
        call, _ = await one.talk()
        (owner,) = one.server.directory.active
        owner.take(ClientSent(decode_client_event('{"type": "response.create"}'), 0))
        await call.hears_sound()
        await call.hang_up()
        await until(lambda: not one.server.plane.load().legs)

    run_jumping(test, store=str(tmp_path))
    (journal,) = (tmp_path / "journals").iterdir()
    _, lines = read_journal(journal.read_bytes())
    assert lines[-1].outputs[-1] == "Finish"


def test_a_healthy_call_replays_as_it_was(tmp_path: Path) -> None:
    """The webhook and our own events took ids that a replay did not take, and every id after them was another."""

    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        extra = {"offhook_events": "1"}
        async with one.sdk.realtime.connect(call_id=call_id, extra_query=extra) as connection:
            for _ in range(2):
                await connection.response.create()
                while (event := json.loads(await connection.recv_bytes()))["type"] != "response.output_item.added":
                    pass
                # A client that names an id shows whether the replay made the same one.
                await connection.conversation.item.retrieve(item_id=event["item"]["id"])
                await connection.response.cancel()
                await one.calls.refer(call_id, target_uri="tel:+15550001")
                while json.loads(await connection.recv_bytes())["type"] != "offhook.refer.updated":
                    pass
            await call.hang_up()
            await call.ended()

    run_jumping(test, store=str(tmp_path))
    (journal,) = (tmp_path / "journals").iterdir()
    head, lines = read_journal(journal.read_bytes())
    assert [step.line.event for step in replay(head, lines) if not step.same] == []


def test_what_is_kept_of_a_call_holds_no_secret_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    """Keys of MCP servers stood in journals, plain and in base64, and everybody could read them."""
    pytest.importorskip("mcp", reason="offhook[mcp] is not installed")
    secret, header = "sk-mcp-0123456789", "Basic c2VjcmV0OnBhc3M="
    store = tmp_path / "store"

    async def test(one: Live) -> None:
        mcp = {"type": "mcp", "server_url": "http://127.0.0.1:9/"}
        tools = [
            mcp | {"server_label": "a", "authorization": secret},
            mcp | {"server_label": "b", "headers": {"X-Key": header}},
        ]
        call, call_id = await one.talk({"tools": tools})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await connection.session.update(session={"type": "realtime", "tools": tools})
            await socket.until("session.updated")
            await connection.response.create(response={"tools": tools})
            await socket.until("response.done")
        await one.calls.accept(call_id, type="realtime", tools=tools)
        await call.hang_up()
        await call.ended()

    umask = os.umask(0o022)
    try:
        run_jumping(test, mcp_allow=["127.0.0.1"], store=str(store))
    finally:
        os.umask(umask)
    (journal,) = (store / "journals").iterdir()
    kept = journal.read_bytes()
    for hidden in (secret, header):
        assert hidden.encode() not in kept
        for shift in range(3):
            encoded = base64.b64encode(b" " * shift + hidden.encode())[4:-4]
            assert encoded not in kept
    for path in (store, *store.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    head, lines = read_journal(kept)
    assert all(step.same for step in replay(head, lines))


def test_a_journal_holds_the_input_that_met_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Engine.handle

    def broken(self: Engine, event: SessionInput, now: float) -> Sequence[SessionOutput]:
        if isinstance(event, DigitPressed):
            raise KeyError("a bug")
        return sound(self, event, now)

    async def test(one: Live) -> None:
        call, call_id = await one.talk()
        monkeypatch.setattr(Engine, "handle", broken)
        call.press("5")
        await call.ended()
        assert (await one.record(call_id))["end"]["reason"] == "bug"

    run_jumping(test, store=str(tmp_path))
    (journal,) = (tmp_path / "journals").iterdir()
    head, lines = read_journal(journal.read_bytes())
    assert [line.outputs for line in lines if isinstance(line.event, DigitPressed)] == [("bug KeyError",)]
    assert all(step.same for step in replay(head, lines))
    monkeypatch.undo()
    changed = [step.line.event for step in replay(head, lines) if not step.same]
    assert isinstance(changed[0], DigitPressed)


def test_a_call_for_which_no_ports_are_left_is_refused_while_it_could_still_go_elsewhere() -> None:
    async def test(one: Live) -> None:
        await one.ring()
        await one.ring()
        third = await one.dial()
        with pytest.raises(CallFailedError) as caught:
            await third.answered()
        assert caught.value.status == 503
        assert len(one.hooks.received) == 2

    run(test, rtp_ports="19990-19993")


async def _asks(one: Live, user: str = "") -> Response:
    """Ask by OPTIONS, as a trunk does, whether calls for this user would be taken."""
    async with raw_caller(one.server.sip.address) as caller:
        host, port = one.server.sip.address
        caller.send(caller.peer.request("OPTIONS", uri=f"sip:{user}{'@' if user else ''}{host}:{port}"))
        return await caller.final("OPTIONS")


def test_a_trunk_that_asks_a_full_server_is_told_so() -> None:
    async def test(one: Live) -> None:
        assert (await _asks(one)).status == 200
        await one.ring()
        full = await _asks(one)
        assert (full.status, full.get("retry-after")) == (503, str(one.server.agent.options.retry_after_s))
        assert one.server.admission.refused == 0, "nobody was refused: nobody called"

    run(test, max_calls=1)


def test_a_trunk_that_asks_for_a_project_that_is_not_there_is_told_so() -> None:
    async def test(one: Live) -> None:
        asked = {user: (await _asks(one, user)).status for user in ("", "proj_a", "proj_z")}
        assert asked == {"": 200, "proj_a": 200, "proj_z": 404}

    run(test, projects=(ProjectConfig("proj_a", ("sk-a",)), ProjectConfig("proj_b", ("sk-b",))))


# -- callers that do as they like --------------------------------------------------------------------------------------


def test_an_ack_that_repeats_the_callers_offer_changes_nothing() -> None:
    """A telephone that puts its offer into the ACK as well was taken to have answered, and lost the call."""

    async def test(one: Live) -> None:
        async with raw_caller(one.server.sip.address) as caller:
            offer = caller.describe(formats="8 0")
            caller.send(caller.peer.next("INVITE", body=offer))
            event = await asyncio.wait_for(one.incoming.get(), 10)
            await one.calls.accept(event.data.call_id, type="realtime")
            answer = await caller.final("INVITE")
            assert b" RTP/AVP 0\r\n" in answer.body
            caller.peer.to_tag = answer.to_tag
            caller.send(caller.peer.ack(body=offer))
            assert (await caller.request("OPTIONS")).status == 200
            # Everything from here on was sent after the ACK was read.
            caller.hush()
            for _ in range(5):
                assert (await caller.hear())[1] & 0x7F == 0
            assert (await caller.request("BYE")).status == 200
            assert (await one.record(event.data.call_id))["end"]["reason"] == "caller_hung_up"

    run(test)


def test_a_hold_that_comes_in_an_ack_is_seen() -> None:
    """A re-INVITE without an offer is answered with ours; what the caller wants stands in its ACK."""

    async def test(one: Live) -> None:
        async with raw_caller(one.server.sip.address) as caller:
            await caller.call(caller.describe())
            (call,) = one.server.directory.active
            told = call.attach(own_events=True)
            ours = await caller.request("INVITE")
            assert b"m=audio" in ours.body
            caller.send(caller.peer.ack(body=caller.describe("a=recvonly", version=2)))
            # Requests are worked off in order: its answer shows that the ACK was.
            await caller.request("OPTIONS")
            assert not call.record()["on_hold"]
            await caller.request("INVITE")
            caller.send(caller.peer.ack(body=caller.describe("a=sendonly", version=3)))
            events = await asyncio.wait_for(told.take(), 10)
            assert isinstance(events, list)
            (event,) = map(json.loads, events)
            assert (event["type"], event["on_hold"]) == ("offhook.call.hold", True)
            assert call.record()["on_hold"]

    run(test, answer="echo")


def test_a_refused_call_is_told_why_and_the_log_names_it(caplog: pytest.LogCaptureFixture) -> None:
    async def test(one: Live) -> None:
        async with raw_caller(one.server.sip.address) as caller:
            with caplog.at_level(logging.INFO, logger="offhook"):
                refused = await caller.call(caller.describe(formats="18"))
            why = "no audio line with PCMU or PCMA over RTP/AVP"
            assert (refused.status, refused.get("warning")) == (488, f'399 offhook "{why}"')
            host, port = caller.sip.getsockname()
            whose = f"source={host}:{port} sip_call_id={caller.peer.call_id}"
            assert caplog.messages == [f'call refused status=488 why="{why}" {whose}']

    run(test)


def test_a_change_of_the_call_that_is_refused_is_told_why() -> None:
    async def test(one: Live) -> None:
        async with raw_caller(one.server.sip.address) as caller:
            await caller.call(caller.describe())
            refused = await caller.request("INVITE", caller.describe(formats="18", version=2))
            why = "no audio line with PCMU or PCMA over RTP/AVP"
            assert (refused.status, refused.get("warning")) == (488, f'399 offhook "{why}"')
            # The call goes on as it was.
            assert (await caller.request("OPTIONS")).status == 200
            assert (await caller.request("BYE")).status == 200

    run(test, answer="echo")
