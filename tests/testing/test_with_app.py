"""An `offhook.App` under test: the whole of what people write, with a caller who speaks, in a second."""

from __future__ import annotations

import asyncio

import pytest

import offhook
from offhook.testing import Calls, Handset
from offhook.testing.clock import JumpLoop


@pytest.fixture
def booked() -> list[str]:
    return []


@pytest.fixture
def app(booked: list[str]) -> offhook.App:
    made = offhook.App()

    async def book(day: str) -> str:
        """Book a table.

        Args:
            day: The day, as the caller said it.
        """
        booked.append(day)
        return f"A table is booked for {day}."

    @made.incoming
    async def answer(call: offhook.IncomingCall) -> None:
        if call.caller == "+15550666":
            return await call.reject(603)
        async with call.accept(instructions="You take bookings.", tools=[book]) as session:
            await session.say("Good evening, how can I help?")
            async for event in session:
                if isinstance(event, offhook.types.DtmfReceived):
                    await session.hangup()
        return None

    return made


def test_a_table_is_booked_by_voice(app: offhook.App, booked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Handset() as phone:
        monkeypatch.setenv("OPENAI_BASE_URL", phone.access.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", phone.access.api_key)
        monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", phone.access.webhook_secret)
        phone.connect(app)
        phone.model.hears("table", Calls("book", {"day": "Friday"})).result("book", str)
        call = phone.dial("+15550001")
        call.hears("how can I help")
        call.says("A table for Friday, please")
        call.hears("booked for Friday")
        call.press("0")
        assert call.ended().by == "them"
        refused = phone.dial(caller="sip:+15550666@caller.test")
        assert refused.end is not None
        assert refused.end.status == 603
    assert booked == ["Friday"]


def test_a_test_that_fails_in_the_handler_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    app = offhook.App()

    @app.incoming
    async def answer(call: offhook.IncomingCall) -> None:
        pytest.fail("this call is none")

    with pytest.raises(pytest.fail.Exception, match="this call is none"), Handset() as phone:  # noqa: PT012 - leaving it raises
        monkeypatch.setenv("OPENAI_BASE_URL", phone.access.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", phone.access.api_key)
        monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", phone.access.webhook_secret)
        phone.connect(app)
        refused = phone.dial()
        assert refused.end is not None
        assert refused.end.status == 500


def test_an_application_leaves_the_clock_to_the_telephone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests and its socket stay in the process; one that left it would let an hour take an hour."""
    app = offhook.App()
    strangers: list[int] = []

    @app.incoming
    async def answer(call: offhook.IncomingCall) -> None:
        async with call.accept() as session:
            await session.say("One moment, please.")
            loop = asyncio.get_running_loop()
            assert isinstance(loop, JumpLoop)
            strangers.append(loop._jumping.foreign)

    with Handset() as phone:
        monkeypatch.setenv("OPENAI_BASE_URL", phone.access.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", phone.access.api_key)
        monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", phone.access.webhook_secret)
        phone.connect(app)
        phone.dial().ended()
    assert strangers == [0]
