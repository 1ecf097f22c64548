"""Calls whose application fails halfway: none is left with a model that nobody controls, none rings on for nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.core.test_app_webhooks import SECRET, event, post, run
from tests.scripted_transport import AsyncScripted, Outcome, answer

import offhook
from offhook.app import socket

Handler = Callable[[offhook.IncomingCall], Awaitable[Any]]
NOWHERE = "http://127.0.0.1:9/v1"
LOST = offhook.APIConnectionError("the connection broke before the answer was there")


def problem(status: int, code: str) -> Outcome:
    return answer(status, json.dumps({"error": {"message": "No.", "code": code}}).encode())


ALREADY = problem(400, "call_already_accepted")
UNKNOWN = problem(404, "call_id_not_found")
FINE = answer()


def sent(handler: Handler, *outcomes: Outcome, requests: list[str] | None = None) -> list[str]:
    """Give a call to a handler; return what its server was asked for. No socket can be opened there."""
    asked = [] if requests is None else requests
    transport = AsyncScripted(list(outcomes))
    client = offhook.AsyncClient(
        api_key="sk-test", webhook_secret=SECRET, base_url=NOWHERE, transport=transport, max_retries=0
    )
    app = offhook.App(client=client)
    app.incoming(handler)

    async def test() -> None:
        assert await post(app, event()) == 200
        await app.close()

    try:
        run(test())
    finally:
        asked += [each.target.rpartition("/")[2] for each in transport.requests]
    return asked


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "_FIRST_PAUSES_S", (0.0, 0.0))


async def accept(call: offhook.IncomingCall) -> None:
    await call.accept()


async def accept_and_catch(call: offhook.IncomingCall) -> None:
    with pytest.raises(offhook.APIError):
        await call.accept()


@pytest.mark.parametrize("handler", [accept, accept_and_catch])
@pytest.mark.parametrize("lost", [LOST, offhook.APITimeoutError("late"), problem(500, "call_failed")])
def test_a_call_whose_accept_was_never_answered_is_hung_up_when_it_turns_out_to_be_answered(
    handler: Handler, lost: Outcome
) -> None:
    assert sent(handler, lost, ALREADY, FINE) == ["accept", "reject", "hangup"]


def test_a_call_whose_accept_never_arrived_is_rejected_so_that_the_trunk_tries_elsewhere() -> None:
    assert sent(accept, LOST, FINE) == ["accept", "reject"]


def test_an_accept_that_was_never_answered_may_be_tried_again_and_may_have_worked() -> None:
    async def twice(call: offhook.IncomingCall) -> None:
        await accept_and_catch(call)
        await accept_and_catch(call)

    assert sent(twice, LOST, ALREADY, ALREADY, FINE) == ["accept", "accept", "reject", "hangup"]


def test_a_call_that_rings_on_after_a_wrong_accept_is_rejected_only() -> None:
    assert sent(accept, problem(400, "invalid_value"), FINE) == ["accept", "reject"]


def test_a_call_that_cannot_be_ended_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    assert sent(accept, LOST) == ["accept", "reject", "hangup"]
    assert "could not be ended" in caplog.text


@pytest.mark.parametrize("handler", [accept, accept_and_catch])
@pytest.mark.parametrize("end", [FINE, UNKNOWN])
def test_a_call_that_is_accepted_and_cannot_be_attached_to_is_hung_up(handler: Handler, end: Outcome) -> None:
    assert sent(handler, FINE, end) == ["accept", "hangup"]


def test_a_hangup_that_fails_is_tried_once_more_when_the_handler_is_done() -> None:
    assert sent(accept_and_catch, FINE, problem(502, "bad_gateway"), FINE) == ["accept", "hangup", "hangup"]


def test_a_404_about_another_call_does_not_pass_for_a_caller_who_gave_up(caplog: pytest.LogCaptureFixture) -> None:
    client = offhook.AsyncClient(api_key="sk-test", base_url=NOWHERE, transport=AsyncScripted([UNKNOWN]), max_retries=0)

    async def ends_another(call: offhook.IncomingCall) -> None:
        await client.realtime.calls.hangup("rtc_of_yesterday")

    with caplog.at_level(logging.INFO, "offhook.app"):
        assert sent(ends_another, FINE) == ["reject"]
    assert "given up" not in caplog.text
    assert "the handler failed" in caplog.text


def test_a_caller_who_gave_up_before_the_accept_costs_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "offhook.app"):
        assert sent(accept, UNKNOWN) == ["accept"]
    assert caplog.messages[-1] == "call_id=rtc_1: the caller has given up"
    assert {each.levelname for each in caplog.records} == {"INFO"}


class OutcomeOfATest(BaseException):
    """What test frameworks end a test with is no Exception."""


def raising(failure: BaseException) -> Handler:
    async def fails(call: offhook.IncomingCall) -> None:
        raise failure

    return fails


@pytest.mark.parametrize("failure", [OutcomeOfATest("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_handler_that_ends_more_than_itself_ends_its_call_first_and_the_exception_is_seen(
    failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    requests: list[str] = []
    with pytest.raises(type(failure)):
        sent(raising(failure), FINE, requests=requests)
    assert requests == ["reject"]
    assert "the handler failed" in caplog.text


def test_a_closing_that_is_cancelled_can_be_done_again() -> None:
    client = offhook.AsyncClient(
        api_key="sk-test", webhook_secret=SECRET, base_url=NOWHERE, transport=(transport := AsyncScripted([FINE]))
    )
    app = offhook.App(client=client, drain_s=0.1)

    @app.incoming
    async def waits(call: offhook.IncomingCall) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        assert await post(app, event()) == 200
        closing = asyncio.create_task(app.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        assert transport.requests == []
        await app.close()

    run(test())
    assert [each.target.rpartition("/")[2] for each in transport.requests] == ["reject"]


def test_a_handler_that_ends_as_if_it_was_cancelled_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    assert sent(raising(asyncio.CancelledError()), FINE) == ["reject"]
    assert "the handler failed" in caplog.text


def test_a_handler_whose_event_loop_is_gone_goes_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    client = offhook.AsyncClient(
        api_key="sk-test", webhook_secret=SECRET, base_url=NOWHERE, transport=AsyncScripted([FINE])
    )

    def begin() -> None:
        app = offhook.App(client=client)

        @app.incoming
        async def waits(call: offhook.IncomingCall) -> None:
            await asyncio.Event().wait()

        async def test() -> None:
            assert await post(app, event()) == 200
            await asyncio.sleep(0)

        loop = asyncio.new_event_loop()
        loop.run_until_complete(test())
        loop.close()

    begin()
    # An exception here that nobody can catch fails the test.
    gc.collect()
    assert "the handler failed" not in caplog.text
