"""Our own client against a running server and a telephone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tests.socket.live import KEY, SECRET, Live, run

import offhook
from offhook import types

TOOL = types.FunctionTool(name="opening_hours", parameters={"type": "object", "properties": {}})
PATIENCE_S = 20


def options(one: Live, **more: Any) -> dict[str, Any]:
    return {"api_key": KEY, "base_url": one.ready.http + "/v1", "webhook_secret": SECRET, "max_retries": 0, **more}


async def until(connection: Any, kind: type) -> list[Any]:
    """The events up to and with the first of a type."""
    events = [await asyncio.wait_for(connection.recv(), PATIENCE_S)]
    while not isinstance(events[-1], kind):
        events.append(await asyncio.wait_for(connection.recv(), PATIENCE_S))
    return events


def test_a_call_from_its_webhook_to_its_end() -> None:
    async def test(one: Live) -> None:
        async with offhook.AsyncClient(**options(one)) as client:
            caller, call_id = await one.ring()
            hook = one.hooks.received[-1]
            event = client.webhooks.unwrap(hook.body, hook.headers)
            assert isinstance(event, types.RealtimeCallIncoming)
            assert event.data.call_id == call_id
            calls = client.realtime.calls
            await calls.accept(call_id, type="realtime", tools=[TOOL], tool_choice="required")
            await caller.answered()
            async with client.realtime.connect(call_id=call_id) as connection:
                await connection.session.update(
                    session={"type": "realtime", "instructions": "Be brief."}, event_id="e1"
                )
                (updated,) = await until(connection, types.SessionUpdated)
                assert updated.session.instructions == "Be brief."
                assert updated.session.tools == (TOOL,)
                await connection.response.create()
                done = (await until(connection, types.ResponseDone))[-1]
                (called,) = done.response.output
                assert isinstance(called, types.FunctionCall)
                output = types.FunctionCallOutput(call_id=called.call_id, output='{"open":"9 to 5"}')
                await connection.conversation.item.create(item=output)
                await until(connection, types.ConversationItemDone)
                with pytest.raises(offhook.BadRequestError) as caught:
                    await calls.accept(call_id, type="realtime", model="other")
                assert caught.value.code == "call_already_accepted"
                assert caught.value.request_id
                await calls.refer(call_id, target_uri="tel:+15550123")
                await calls.hangup(call_id)
                left = [event async for event in connection]
                assert all(event.type != "error" for event in left if isinstance(event, types.Other))
                assert (connection.close_code, bool(connection.close_reason)) == (1000, True)
                with pytest.raises(offhook.ConnectionClosedError) as closed:
                    await connection.recv()
                assert closed.value.close_code == 1000
                assert closed.value.reason
                with pytest.raises(offhook.ConnectionClosedError):
                    await connection.response.create()
            await caller.ended()
            with pytest.raises(offhook.NotFoundError) as gone:
                await calls.hangup(call_id)
            assert gone.value.code == "call_id_not_found"

    run(test)


def test_the_blocking_client_does_the_same() -> None:
    async def test(one: Live) -> None:
        caller, call_id = await one.ring()
        with offhook.Client(**options(one)) as client:

            def talk() -> list[Any]:
                client.realtime.calls.accept(call_id, type="realtime")
                with client.realtime.connect(call_id=call_id) as connection:
                    connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
                    seen = []
                    for event in connection:
                        seen.append(event)
                        if isinstance(event, types.SessionUpdated):
                            connection.response.create()
                        if isinstance(event, types.RateLimitsUpdated):
                            client.realtime.calls.hangup(call_id)
                    assert (connection.close_code, bool(connection.close_reason)) == (1000, True)
                    with pytest.raises(offhook.ConnectionClosedError):
                        connection.recv()
                return seen

            seen = await asyncio.to_thread(talk)
            await caller.ended()
            kinds = {type(event) for event in seen}
            assert kinds >= {types.SessionUpdated, types.ResponseCreated, types.OutputAudioDone, types.ResponseDone}
            _, other_id = await one.ring()
            await asyncio.to_thread(client.realtime.calls.reject, other_id, status_code=486)

    run(test)


def test_a_secret_opens_a_session_of_its_own() -> None:
    async def test(one: Live) -> None:
        async with offhook.AsyncClient(**options(one)) as client:
            given = types.SessionParams(type="realtime", instructions="Be brief.")
            secret = await client.realtime.client_secrets.create(session=given)
            assert isinstance(secret.session, types.Session)
            assert secret.session.instructions == "Be brief."
            listening = await client.realtime.client_secrets.create(session={"type": "transcription"})
            assert isinstance(listening.session, types.TranscriptionSession)
        async with offhook.AsyncClient(**options(one, api_key=secret.value)) as browser:
            async with browser.realtime.connect(model=secret.session.model) as connection:
                (created,) = await until(connection, types.SessionCreated)
                assert created.type == "session.created"
                assert created.session.instructions == "Be brief."
                await connection.conversation.item.create(
                    item=types.Message(role="user", content=(types.InputText(text="Good morning."),))
                )
                await connection.response.create()
                events = await until(connection, types.ResponseDone)
                assert any(isinstance(event, types.OutputAudioDelta) for event in events)
                assert events[-1].response.status == "completed"
            with pytest.raises(offhook.APIStatusError):
                await browser.realtime.calls.hangup("rtc_1")
        async with (
            offhook.AsyncClient(**options(one, api_key=listening.value)) as browser,
            browser.realtime.connect(extra_query={"intent": "transcription"}) as connection,
        ):
            (event,) = await until(connection, types.TranscriptionSessionCreated)
            assert event.session.type == "transcription"

    run(test)


@pytest.mark.parametrize("key", [KEY, "sk-wrong"])
def test_a_socket_that_cannot_be_opened_says_why(key: str) -> None:
    async def test(one: Live) -> None:
        expected: Any = offhook.NotFoundError if key == KEY else offhook.AuthenticationError
        client = offhook.AsyncClient(**options(one, api_key=key))
        with pytest.raises(expected) as caught:
            await client.realtime.connect(call_id="rtc_gone").enter()
        assert caught.value.code == ("call_id_not_found" if key == KEY else "invalid_api_key")
        assert caught.value.request_id
        assert key not in str(caught.value)
        blocking = offhook.Client(**options(one, api_key=key))
        with pytest.raises(expected):
            await asyncio.to_thread(blocking.realtime.connect(call_id="rtc_gone").enter)

    run(test)


def test_a_server_that_is_gone_or_points_elsewhere_opens_no_socket() -> None:
    from tests.socket.http_peer import Peer, http_peer

    def redirect(peer: Peer) -> None:
        peer.request()
        peer.say(b"HTTP/1.1 307 X\r\nlocation: ws://other.example/v1/realtime\r\ncontent-length: 0\r\n\r\n")

    async def test(url: str, expected: type[Exception]) -> None:
        given = {"api_key": KEY, "base_url": url, "websocket_base_url": url}
        with pytest.raises(expected) as caught:
            await offhook.AsyncClient(**given).realtime.connect(call_id="rtc_1").enter()
        assert "rtc_1" not in str(caught.value)
        with pytest.raises(expected):
            await asyncio.to_thread(offhook.Client(**given).realtime.connect(call_id="rtc_1").enter)

    with http_peer(redirect) as server:
        asyncio.run(test(server.url, offhook.RedirectError))
        assert server.connections == 2
    asyncio.run(test(server.url, offhook.APIConnectionError))


def test_keys_do_not_get_into_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def test(one: Live) -> None:
        caller, call_id = await one.talk()
        caplog.clear()
        async with offhook.AsyncClient(**options(one, api_key=KEY)) as client:
            async with client.realtime.connect(call_id=call_id) as connection:
                await connection.session.update(session={"type": "realtime"})
                await until(connection, types.SessionUpdated)
            await client.realtime.calls.hangup(call_id)
        await caller.ended()

    run(test)
    # The server of this test is in the same process; its HTTP library has a logger of its own.
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
    assert ours
    assert KEY not in "".join(ours)


@pytest.mark.parametrize("given", [{"call_id": ""}, {"model": ""}])
def test_a_socket_of_nothing_is_refused_before_anything_is_sent(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="non-empty"):
        offhook.Client(api_key=KEY).realtime.connect(**given)
