"""Answering calls with `offhook.App`, against a whole server with a telephone."""

from __future__ import annotations

import asyncio
import itertools
import logging

import pytest
from tests.interop.application import over
from tests.socket.app_host import Brain, Scene, play
from tests.socket.live import PATIENCE_S, until

import offhook
from offhook import types
from offhook.audio.tone import TONES, find_tones
from offhook.testing.phone import CallFailedError, PhoneCall

GREETING = "Good morning, how can I help?"


def heard(call: PhoneCall) -> list[int]:
    """The sentences that were heard: the scripted voice makes a tone of each, which a busy machine may tear."""
    return [number for number, _ in itertools.groupby(each.number for each in find_tones(call.heard))]


def tone_of(text: str) -> int:
    return len(text) % TONES


def test_a_call_is_answered_in_ten_lines() -> None:
    """Greeted word for word, asked by the model for a function, told of a key and of the end."""
    brain = Brain()
    brain.calls(("book", '{"day": "monday", "guests": "2"}'))
    brain.says("It is booked.")

    def build(scene: Scene) -> None:
        async def book(day: str, guests: int = 1) -> str:
            """Book a table."""
            scene.log.append((day, guests))
            return "booked"

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            scene.log.append((call.caller, call.called))
            async with call.accept(instructions="You are a waiter.", tools=[book]) as session:
                scene.log.append(await session.say(GREETING))
                await session.response.create()
                async for event in session:
                    match event:
                        case types.DtmfReceived(event=key):
                            scene.log.append(key)
                        case offhook.CallEnded():
                            scene.log.append(event)
            scene.over.set()

    async def test(scene: Scene) -> None:
        call = await scene.one.dial("clinic")
        await call.answered()
        await call.hears_sound(PATIENCE_S)
        await call.hears_silence()
        call.press("7")
        await call.pressed()
        await until(lambda: len(scene.brain.asked) >= 2 and "7" in scene.log)
        await until(lambda: tone_of("It is booked.") in heard(call))
        await call.hang_up()
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)
        assert heard(call)[0] == tone_of(GREETING)

    scene = play(build, test, brain=brain, real=True)
    assert scene.log[0][1] == "clinic"
    assert scene.log[0][0]
    assert scene.log[1:3] == [True, ("monday", 2)]
    assert scene.log[3] == "7"
    assert (
        scene.log[4] == offhook.CallEnded("completed", "caller", "caller_hung_up", None) or scene.log[4].by == "caller"
    )
    assert brain.outputs(1) == ["booked"]


async def refused(scene: Scene) -> int | None:
    """Call, and return the status that ends the ringing."""
    call = await scene.one.dial()
    with pytest.raises(CallFailedError) as failure:
        await call.answered()
    return failure.value.status


def test_a_call_is_rejected_with_the_status_that_is_given() -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            await call.reject(486)

    async def test(scene: Scene) -> None:
        assert await refused(scene) == 486

    play(build, test)


def test_a_handler_that_decides_nothing_does_not_let_the_caller_wait(caplog: pytest.LogCaptureFixture) -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            scene.log.append(call.call_id)

    async def test(scene: Scene) -> None:
        assert await refused(scene) == 603

    scene = play(build, test)
    assert f"call_id={scene.log[0]}: the handler decided nothing" in caplog.text


def test_a_handler_that_fails_while_it_rings_rejects_the_call(caplog: pytest.LogCaptureFixture) -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            raise LookupError("the calendar is gone")

    async def test(scene: Scene) -> None:
        assert await refused(scene) == 500

    play(build, test)
    assert "the calendar is gone" in caplog.text


@pytest.mark.parametrize("kind", [LookupError, pytest.fail.Exception, asyncio.CancelledError])
@pytest.mark.parametrize("entered", [True, False])
def test_a_handler_that_fails_in_the_conversation_hangs_up(
    caplog: pytest.LogCaptureFixture, entered: bool, kind: type[BaseException]
) -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            if not entered:
                await call.accept()
                raise kind("the calendar is gone")
            async with call.accept():
                raise kind("the calendar is gone")

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await call.answered()
        await call.ended()

    play(build, test)
    assert "the calendar is gone" in caplog.text


def test_an_accept_that_the_server_refuses_rejects_the_call_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            await call.accept(audio={"output": {"speed": 9}})

    async def test(scene: Scene) -> None:
        assert await refused(scene) == 500

    play(build, test)
    assert "session.audio.output.speed" in caplog.text


def test_a_caller_who_gave_up_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    decide = asyncio.Event()

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            scene.log.append(call.call_id)
            await decide.wait()
            try:
                async with call.accept():
                    scene.log.append("answered")
            finally:
                scene.over.set()

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await until(lambda: bool(scene.log))
        await call.hang_up()
        await over(scene.one, scene.log[0])
        decide.set()
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    with caplog.at_level(logging.INFO, "offhook.app"):
        scene = play(build, test)
    assert len(scene.log) == 1
    assert [each.levelname for each in caplog.records if each.name == "offhook.app"] == ["INFO"]


def test_leaving_the_session_hangs_up_when_the_agent_has_said_what_it_says() -> None:
    goodbye = "Goodbye, and thank you for calling."

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                saying = asyncio.create_task(session.say(goodbye))
                await asyncio.sleep(0)
            scene.log += [await saying, session.end]

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await call.answered()
        await call.ended()
        assert heard(call) == [tone_of(goodbye)]
        tones = find_tones(call.heard)
        assert tones[-1].end_ms - tones[0].start_ms > 65 * len(goodbye) - 200, "heard to its end"

    scene = play(build, test, brain=Brain())
    assert scene.log[0] is True
    assert (scene.log[1].result, scene.log[1].by) == ("completed", "application")


def test_an_awaited_session_goes_on_when_the_handler_has_returned() -> None:
    brain = Brain()
    brain.calls(("hours", "{}"))
    brain.says("From nine to five.")

    def build(scene: Scene) -> None:
        @scene.app.tool
        def hours() -> dict[str, list[int]]:
            """When the clinic is open."""
            return {"open": [9, 17]}

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            session = await call.accept()
            await session.response.create()

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await call.answered()
        await call.hears_sound(PATIENCE_S)
        await call.hears_silence()
        await call.hang_up()

    play(build, test, brain=brain)
    assert brain.outputs(1) == ['{"open":[9,17]}']


def test_a_sentence_that_the_caller_interrupts_was_not_heard() -> None:
    from offhook.testing.voice import voice

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                scene.log.append(await session.say("This is a very long sentence, " * 6))
            scene.over.set()

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await call.answered()
        await call.hears_sound(PATIENCE_S)
        call.begin_saying(voice(1200))
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    scene = play(build, test, brain=Brain())
    assert scene.log == [False]


def test_sentences_are_said_one_after_the_other() -> None:
    texts = ["One.", "And two.", "And at last three."]

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                scene.log += await asyncio.gather(*map(session.say, texts))

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await call.answered()
        await call.ended()
        assert heard(call) == [tone_of(each) for each in texts]

    scene = play(build, test, brain=Brain())
    assert scene.log == [True, True, True]


def test_a_call_that_is_over_answers_all_that_is_asked_of_it() -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                await session.hangup()
                end = await session.wait_ended()
                scene.log += [await session.say("Hello?"), await session.transfer("tel:+15550002")]
                scene.log += [event async for event in session][-1:]
                scene.log.append(end)
                with pytest.raises(offhook.ConnectionClosedError):
                    await session.response.create()
                await session.hangup()
                await call.hangup()
                await call.reject()
            scene.over.set()

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await call.answered()
        await call.ended()
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    scene = play(build, test)
    assert scene.log[:2] == [False, False]
    assert scene.log[2] is scene.log[3]


def test_a_call_is_accepted_once() -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept():
                with pytest.raises(offhook.CallDecidedError):
                    await call.accept()
                scene.log.append("refused")

    async def test(scene: Scene) -> None:
        call = await scene.one.dial()
        await call.answered()
        await call.ended()

    assert play(build, test).log == ["refused"]
