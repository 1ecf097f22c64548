"""What an application does in a conversation: functions, transfers, lost connections, servers that are not offhook."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from tests.socket.app_host import Brain, Scene, play
from tests.socket.live import PATIENCE_S, until

import offhook
from offhook import types
from offhook.app import limits
from offhook.testing.phone import PhoneCall

GREETING = "Good morning, how can I help?"


async def until_asked(scene: Scene, times: int) -> None:
    await until(lambda: len(scene.brain.asked) >= times)


async def dial(scene: Scene) -> PhoneCall:
    call = await scene.one.dial()
    await call.answered()
    return call


def test_functions_of_one_response_run_side_by_side_and_are_answered_in_order_and_at_once() -> None:
    brain = Brain()
    brain.calls(("slow", "{}"), ("quick", "{}"), ("nobody", "{}"), ("quick", '{"hour": 9}'))
    slow = asyncio.Event()

    def build(scene: Scene) -> None:
        async def quick() -> str:
            slow.set()
            return "quick"

        async def late() -> str:
            await slow.wait()
            return "slow"

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            session = await call.accept(tools=[offhook.Tool(late, name="slow"), quick])
            await session.response.create()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await until_asked(scene, 2)
        await call.hang_up()

    play(build, test, brain=brain)
    outputs = brain.outputs(1)
    assert outputs[:2] == ["slow", "quick"]
    assert outputs[2] == "There is no function of this name. Functions are: slow, quick."
    assert outputs[3].startswith("quick was not called, its arguments are wrong")
    assert len(brain.asked) == 2


def test_a_function_that_fails_is_told_to_the_model_and_the_call_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    brain = Brain()
    brain.calls(("book", "{}"))

    def build(scene: Scene) -> None:
        @scene.app.tool
        def book() -> None:
            raise ConnectionError("db-7.internal refused")

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            session = await call.accept()
            await session.response.create()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await until_asked(scene, 2)
        assert call.end is None
        await call.hang_up()

    play(build, test, brain=brain)
    assert brain.outputs(1) == ["book failed (ConnectionError)."]
    assert "db-7.internal refused" in caplog.text


def test_a_function_that_hangs_up_ends_the_call_and_nothing_is_asked_any_more() -> None:
    brain = Brain()
    brain.calls(("goodbye", "{}"))

    def build(scene: Scene) -> None:
        async def goodbye(session: offhook.CallSession) -> None:
            await session.say("Goodbye.")
            await session.hangup()
            scene.log.append((await session.wait_ended()).by)

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept(tools=[goodbye]) as session:
                await session.response.create()
                await session.wait_ended()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await call.ended()

    scene = play(build, test, brain=brain)
    assert scene.log == ["application"]
    assert len(brain.asked) == 1


def test_a_function_that_the_application_answers_itself_is_left_to_it() -> None:
    """Another one of the same response runs meanwhile, and the model goes on only when both have answered."""
    brain = Brain()
    brain.calls(("mine", '{"a": 1}'), ("ours", "{}"))
    mine = {"type": "function", "name": "mine", "parameters": {"type": "object", "properties": {}}}

    def build(scene: Scene) -> None:
        async def ours() -> str:
            return "ours"

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept(tools=[mine, ours]) as session:
                await session.response.create()
                async for event in session:
                    match event:
                        case types.FunctionArgumentsDone(name="mine", call_id=call_id):
                            asked = call_id
                        case types.ConversationItemDone(item=types.FunctionCallOutput(output="ours")):
                            item = {"type": "function_call_output", "call_id": asked, "output": "mine"}
                            await session.conversation.item.create(item=item)
                            await session.response.create()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await until_asked(scene, 2)
        await call.hang_up()

    play(build, test, brain=brain)
    assert sorted(brain.outputs(1)) == ["mine", "ours"]


THEIRS = {"type": "function", "name": "theirs", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("way", ["extra_body", "prompt", "update", "response"])
def test_a_function_that_another_socket_answers_is_left_to_it_however_it_came(way: str, tmp_path: Path) -> None:
    brain = Brain()
    brain.calls(("theirs", "{}"))
    (tmp_path / "pmpt_theirs").mkdir()
    (tmp_path / "pmpt_theirs" / "1.json").write_text(json.dumps({"tools": [THEIRS]}))
    given: dict[str, Any] = {
        "extra_body": {"extra_body": {"tools": [THEIRS]}},
        "prompt": {"prompt": {"id": "pmpt_theirs"}},
    }

    def build(scene: Scene) -> None:
        async def ours() -> str:
            return "ours"

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            tools = [] if way == "prompt" else [ours]
            session = await call.accept(tools=tools, **given.get(way, {}))
            async for event in session:
                # A key says that the other one listens.
                if isinstance(event, types.DtmfReceived):
                    await session.response.create(response={"tools": [THEIRS]} if way == "response" else UNSET)

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        (shown,) = (await scene.one.http("GET", "/offhook/v1/calls")).json()["data"]
        async with scene.one.sdk.realtime.connect(call_id=shown["id"]) as other:
            if way == "update":
                await other.session.update(session={"type": "realtime", "tools": [THEIRS]})
                assert (await other.recv()).type == "session.updated"
            call.press("1")
            async with asyncio.timeout(PATIENCE_S):
                async for event in other:
                    if event.type == "response.done":
                        break
            (called,) = event.response.output
            item = {"type": "function_call_output", "call_id": called.call_id, "output": "theirs"}
            await other.conversation.item.create(item=item)
            await other.response.create()
            await until_asked(scene, 2)
            await call.hears_sound(PATIENCE_S)
        await call.hang_up()

    play(build, test, brain=brain, prompts=str(tmp_path))
    assert brain.outputs(1) == ["theirs"]
    assert len(brain.asked) == 2


# -- transfers


def test_a_transfer_that_fails_leaves_the_caller_with_the_agent() -> None:
    """The telephone takes no transfers, and offhook says so at once."""

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                saying = asyncio.create_task(session.say("One moment, I connect you."))
                await asyncio.sleep(0)
                scene.log.append(await session.transfer("sip:operator@127.0.0.1:5999", within_s=60))
                scene.log.append((session.end, saying.done() and saying.result()))
                with pytest.raises(offhook.BadRequestError):
                    await session.transfer("nobody")
                scene.log.append("refused")

    async def test(scene: Scene) -> None:
        await (await dial(scene)).ended()

    assert play(build, test, brain=Brain()).log == [False, (None, True), "refused"]


def test_a_transfer_has_succeeded_when_the_call_ends_and_nobody_tells_more() -> None:
    referred = asyncio.Event()

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                asyncio.get_running_loop().call_later(0.3, referred.set)
                scene.log.append(await session.transfer("tel:+15550002", within_s=60))
            scene.over.set()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await referred.wait()
        await call.hang_up()
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    assert play(build, test, elsewhere=True).log == [True]


def test_a_transfer_of_which_nothing_is_heard_is_given_up() -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                scene.log.append(await session.transfer("tel:+15550002", within_s=0.1))

    async def test(scene: Scene) -> None:
        await (await dial(scene)).ended()

    assert play(build, test, elsewhere=True).log == [False]


# -- another server


def test_another_server_is_asked_for_nothing_that_it_does_not_know() -> None:
    brain = Brain()
    brain.says(GREETING)

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept(instructions="You are a waiter.") as session:
                scene.log.append(await session.say(GREETING))
                async for event in session:
                    scene.log.append(event)
            scene.over.set()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await call.hears_sound(PATIENCE_S)
        await call.hears_silence()
        await call.hang_up()
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    scene = play(build, test, brain=brain, elsewhere=True)
    assert scene.log[0] is True
    assert scene.log[-1].result == "unknown"
    assert not any(isinstance(event, types.Other) for event in scene.log[1:])
    system, user = brain.asked[0]
    assert "word for word" in system["content"]
    assert "waiter" not in system["content"]
    assert user == {"role": "user", "content": GREETING}


# -- connections


def test_a_connection_that_is_lost_is_opened_again_and_the_call_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", (0.0, 0.0, 0.0, 0.0, 0.0))
    brain = Brain()
    brain.calls(("hours", "{}"))

    def build(scene: Scene) -> None:
        async def hours() -> str:
            scene.wire.cut(refusals=2)
            return "nine to five"

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept(tools=[hours]) as session:
                await session.response.create()
                async for event in session:
                    if isinstance(event, offhook.Reconnected | offhook.CallEnded):
                        scene.log.append(event)
            scene.over.set()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await until_asked(scene, 2)
        await call.hears_sound(PATIENCE_S)
        assert scene.wire.connections == 4
        await call.hang_up()
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    scene = play(build, test, brain=brain, real=True)
    assert [type(each) for each in scene.log] == [offhook.Reconnected, offhook.CallEnded]
    assert scene.log[1].by == "caller"
    assert brain.outputs(1) == ["nine to five"]


def test_an_output_that_was_lost_on_its_way_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", (0.0, 0.0, 0.0))
    brain = Brain()
    brain.calls(("hours", "{}"))

    def build(scene: Scene) -> None:
        async def hours() -> str:
            scene.wire.swallows = True
            return "nine to five"

        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            session = await call.accept(tools=[hours])
            await session.response.create()

    async def test(scene: Scene) -> None:
        call = await dial(scene)
        await until(lambda: scene.wire.swallowed_bytes >= len("function_call_output response.create"))
        scene.wire.cut()
        await until_asked(scene, 2)
        await call.hang_up()

    play(build, test, brain=brain)
    assert brain.outputs(1) == ["nine to five"]


def test_a_call_that_ends_while_the_connection_is_lost_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", (0.05,) * 400)

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            session = await call.accept()
            scene.wire.cut(refusals=1000)
            await scene.one.calls.hangup(call.call_id)
            scene.wire.refusals = 0
            scene.log.append(await session.wait_ended())
            with pytest.raises(offhook.ConnectionClosedError):
                await session.response.create()
            scene.over.set()

    async def test(scene: Scene) -> None:
        await (await dial(scene)).ended()
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    (end,) = play(build, test).log
    assert end.result == "unknown"


def test_a_call_that_nobody_can_steer_any_more_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECONNECT_PAUSES_S", (0.0, 0.0))

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            session = await call.accept()
            scene.wire.cut(refusals=9)
            sent: Any = asyncio.gather(session.response.create(), return_exceptions=True)
            scene.log += [await session.wait_ended(), *await sent]

    async def test(scene: Scene) -> None:
        await (await dial(scene)).ended()

    end, sent = play(build, test).log
    assert end.result == "lost"
    assert sent is None or isinstance(sent, offhook.ConnectionClosedError)


def test_events_that_nobody_takes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNREAD_EVENTS", 5)

    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                await session.say(GREETING)
                await session.hangup()
                await session.wait_ended()
                scene.log += [event async for event in session]
                scene.log.append(session.dropped_events)

    async def test(scene: Scene) -> None:
        await (await dial(scene)).ended()

    scene = play(build, test, brain=Brain())
    assert len(scene.log) == 6
    assert isinstance(scene.log[4], offhook.CallEnded)
    assert scene.log[5] > 5
