"""The official agents package, unmodified: whole conversations over its WebSocket and its SIP transport."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from agents import GuardrailFunctionOutput, OutputGuardrail, function_tool
from agents.realtime import RealtimeAgent, RealtimeModelConfig, RealtimeRunConfig, RealtimeRunner, RealtimeSession
from agents.realtime.model_events import RealtimeModelRawServerEvent
from agents.realtime.model_inputs import RealtimeModelSendRawMessage
from agents.realtime.openai_realtime import OpenAIRealtimeSIPModel, OpenAIRealtimeWebSocketModel
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from tests.oracle import assert_server_event
from tests.socket.live import KEY, Live, run_jumping

from offhook.audio.pcm import Samples, silence, to_bytes
from offhook.audio.resample import resample
from offhook.session.outputs import Generate
from offhook.testing.application import Webhook
from offhook.testing.handset import AsyncHandset
from offhook.testing.model import Calls, ScriptedModel, Thinks
from offhook.testing.sync import JumpingTime
from offhook.wire.items import Message

PATIENCE_S = 30
STORY = "Once upon a time there was a telephone. It rang and rang all day. In the end somebody answered it."


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package sends traces of its own to the hosted service unless told not to."""
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")


@function_tool
def opening_hours(day: str) -> str:
    """Say when somebody is there."""
    return f"from nine to five on {day}"


@function_tool(needs_approval=True)
def refund(euros: int) -> str:
    """Pay money back."""
    return f"{euros} euros are on their way"


def desk() -> RealtimeAgent:
    """An agent who tells the hours and hands over to another one, who pays money back."""
    billing = RealtimeAgent(name="Billing", instructions="You settle bills.", tools=[refund])
    return RealtimeAgent(
        name="Reception", instructions="You are the reception.", tools=[opening_hours], handoffs=[billing]
    )


def scripted() -> ScriptedModel:
    model = ScriptedModel()
    model.hears("when are you open", Calls("opening_hours", {"day": "Monday"}))
    model.result("opening_hours", lambda hours: f"We are here {hours}.")
    model.hears("about my bill", Calls("transfer_to_billing"))
    model.result("transfer_to_billing", "Billing speaking.")
    model.hears("want my money", Calls("refund", {"euros": 20}))
    model.result("refund", lambda said: f"Well, {said}.")
    model.hears("tell me a story", STORY)
    model.hears("that is enough", "As you like.")
    return model


@dataclass
class Talk:
    """A session of the package with everything it has told."""

    session: RealtimeSession
    events: list[Any] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        async for event in self.session:
            self.events.append(event)
            if event.type == "raw_model_event" and isinstance(event.data, RealtimeModelRawServerEvent):
                self.raw.append(assert_server_event(event.data.data))
            self._more.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            told = [event["type"] for event in self.raw] + self.told("error")
            raise AssertionError(f"waited in vain; {told}, {self.history}") from None

    def told(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.raw if event["type"] == kind]

    async def responses(self, count: int) -> None:
        await self.until(lambda: len(self.sent("response.done")) >= count)

    @property
    def history(self) -> list[tuple[str, str]]:
        """Who said what, as the package remembers it."""
        messages = [item for item in self.session._history if item.type == "message"]
        return [(item.role, _words(*item.content)) for item in messages]


def _words(*parts: Any) -> str:
    """The words of an item, which has them as text or as transcript."""
    words = [getattr(part, "text", None) or getattr(part, "transcript", None) or "" for part in parts]
    return " ".join(words).strip()


@contextlib.asynccontextmanager
async def talking(session: RealtimeSession) -> AsyncIterator[Talk]:
    talk = Talk(session)
    async with session:
        reading = asyncio.ensure_future(talk.read())
        try:
            yield talk
        finally:
            await session.close()
            await asyncio.wait_for(reading, PATIENCE_S)


def over_websocket(
    test: Callable[[Talk, ScriptedModel], Awaitable[None]],
    config: RealtimeRunConfig | None = None,
    **settings: Any,
) -> None:
    """Run a conversation of the package over a socket of its own."""
    model = scripted()

    async def whole(one: Live) -> None:
        runner = RealtimeRunner(desk(), model=OpenAIRealtimeWebSocketModel(), config=config)
        # The package sends its own default model with every update, which is another one.
        url = one.ready.http.replace("http", "ws", 1) + "/v1/realtime?model=desk"
        wanted: Any = settings
        options: RealtimeModelConfig = {"api_key": KEY, "url": url, "initial_model_settings": wanted}
        async with talking(await runner.run(model_config=options)) as talk:
            await test(talk, model)

    run_jumping(whole, backend=model)


async def say(talk: Talk, model: ScriptedModel, text: str) -> None:
    """Send a spoken sentence, and then as much silence as ends a turn."""
    (sentence,) = model.book.speak(text)
    await send(talk, np.concatenate([silence(2400), sentence.samples]))
    await talk.until(lambda: talk.sent("input_audio_buffer.speech_started"))
    await send(talk, silence(32_000))


async def send(talk: Talk, sound: Samples) -> None:
    pcm = to_bytes(resample(sound, 8000, 24_000))
    for start in range(0, len(pcm), 9600):
        await talk.session.send_audio(pcm[start : start + 9600])


# -- its WebSocket transport


def test_a_spoken_question_is_answered_with_a_function_and_remembered() -> None:
    async def test(talk: Talk, model: ScriptedModel) -> None:
        await say(talk, model, "When are you open, please?")
        await talk.until(lambda: ("assistant", "We are here from nine to five on Monday.") in talk.history)
        await talk.until(lambda: ("user", "When are you open, please?") in talk.history)
        (ended,) = talk.told("tool_end")
        assert (ended.arguments, ended.output) == ('{"day": "Monday"}', "from nine to five on Monday")
        await talk.until(lambda: talk.told("audio_end"))
        audio = b"".join(event.audio.data for event in talk.told("audio"))
        assert len(audio) > 24_000, "more than half a second of PCM at 24 kHz"
        assert not talk.told("error")
        assert model.requests[0].instructions == "You are the reception."

    over_websocket(test)


def test_the_agent_hands_over_to_another_one_whose_tools_wait_for_approval() -> None:
    async def test(talk: Talk, model: ScriptedModel) -> None:
        await talk.session.send_message("It is about my bill.")
        await talk.until(lambda: ("assistant", "Billing speaking.") in talk.history)
        (handed,) = talk.told("handoff")
        assert (handed.from_agent.name, handed.to_agent.name) == ("Reception", "Billing")
        assert talk.sent("session.updated")[-1]["session"]["instructions"] == "You settle bills."
        assert [tool.name for tool in model.requests[-1].tools] == ["refund"]

        await talk.responses(2)
        await talk.session.send_message("I want my money back.")
        await talk.until(lambda: talk.told("tool_approval_required"))
        await talk.session.approve_tool_call(talk.told("tool_approval_required")[0].call_id)
        await talk.until(lambda: ("assistant", "Well, 20 euros are on their way.") in talk.history)
        await talk.responses(4)

        await talk.session.send_message("I want my money twice.")
        await talk.until(lambda: len(talk.told("tool_approval_required")) == 2)
        await talk.session.reject_tool_call(
            talk.told("tool_approval_required")[1].call_id, rejection_message="once is enough"
        )
        await talk.until(lambda: ("assistant", "Well, once is enough.") in talk.history)
        assert not talk.told("error")

    over_websocket(test)


def test_who_interrupts_what_is_still_played_cuts_it_where_it_was_played() -> None:
    async def test(talk: Talk, model: ScriptedModel) -> None:
        await talk.session.send_message("Please tell me a story.")
        await talk.responses(1)
        (sentence,) = model.book.speak("that is enough for me")
        await send(talk, sentence.samples)
        await talk.until(lambda: talk.sent("conversation.item.truncated"))
        await send(talk, silence(32_000))
        assert talk.told("audio_interrupted")
        cut = talk.sent("conversation.item.truncated")[0]
        assert cut["audio_end_ms"] < len(STORY) * 65
        await talk.until(lambda: ("assistant", "As you like.") in talk.history)
        assert _said(model.requests[-1], cut["item_id"]) != STORY, "the model knows what was not heard"
        assert not talk.told("error")

    over_websocket(test)


def test_who_interrupts_while_the_answer_is_made_ends_it() -> None:
    async def test(talk: Talk, model: ScriptedModel) -> None:
        model.hears("tell me another", "This one is longer than the first.", Thinks(60_000), STORY)
        await talk.session.send_message("Please tell me another.")
        await talk.until(lambda: talk.told("audio"))
        await say(talk, model, "that is enough for me")
        await talk.until(lambda: ("assistant", "As you like.") in talk.history)
        ended = talk.sent("response.done")[0]["response"]
        assert (ended["status"], ended["status_details"]["reason"]) == ("cancelled", "turn_detected")
        assert not talk.told("error")

    over_websocket(test)


def test_a_sentence_that_bridges_a_slow_model_is_heard_and_disturbs_nothing() -> None:
    own = {"while_waiting": {"say": "One moment, please.", "after_ms": 500}}
    update: Any = {"type": "session.update", "other_data": {"session": {"type": "realtime", "offhook": own}}}

    async def test(talk: Talk, model: ScriptedModel) -> None:
        model.hears("tell me another", Thinks(4000), "Here is another one.")
        await talk.session.model.send_event(RealtimeModelSendRawMessage(message=update))
        await talk.session.send_message("Please tell me another.")
        await talk.responses(2)
        first, second = (each["response"] for each in talk.sent("response.done"))
        assert (first["metadata"], second["metadata"]) == ({"offhook": "while_waiting"}, None)
        bridged = first["output"][0]["id"]
        answer = second["output"][0]["id"]
        await talk.until(lambda: {each.item_id for each in talk.told("audio")} == {bridged, answer})
        await talk.until(lambda: ("assistant", "Here is another one.") in talk.history)
        await talk.session.send_message("That is enough.")
        await talk.until(lambda: ("assistant", "As you like.") in talk.history)
        assert not talk.told("error")

    over_websocket(test)


def test_the_package_interrupts_by_itself() -> None:
    async def test(talk: Talk, model: ScriptedModel) -> None:
        model.hears("tell me another", "This one is longer than the first.", Thinks(60_000), STORY)
        await talk.session.send_message("Please tell me another.")
        await talk.until(lambda: talk.told("audio"))
        await talk.session.interrupt()
        await talk.until(lambda: talk.sent("conversation.item.truncated"))
        await talk.responses(1)
        assert talk.sent("response.done")[0]["response"]["status"] == "cancelled"
        await talk.session.send_message("That is enough.")
        await talk.until(lambda: ("assistant", "As you like.") in talk.history)
        assert not talk.told("error")

    over_websocket(test, turn_detection=None)


def test_a_guardrail_stops_what_must_not_be_said() -> None:
    async def forbid(context: Any, agent: Any, text: str) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="telephone" in text)

    config: RealtimeRunConfig = {
        "output_guardrails": [OutputGuardrail(forbid, name="no_telephones")],
        "guardrails_settings": {"debounce_text_length": 20},
    }

    async def test(talk: Talk, model: ScriptedModel) -> None:
        model.hears("tell me about it", "It is a telephone that rings.", Thinks(60_000), STORY)
        model.hears("guardrail triggered", "Let us talk of something else.")
        await talk.session.send_message("Please tell me about it.")
        await talk.until(lambda: ("assistant", "Let us talk of something else.") in talk.history)
        assert talk.told("guardrail_tripped")
        assert talk.sent("response.done")[0]["response"]["status"] == "cancelled"
        assert not talk.told("error")

    over_websocket(test, config=config)


def _said(request: Generate, item_id: str) -> str:
    (item,) = (item for item in request.items if isinstance(item, Message) and item.id == item_id)
    return _words(*item.content)


# -- its SIP transport


async def accept_with_its_payload(client: AsyncOpenAI, call_id: str, agent: RealtimeAgent) -> None:
    payload = await OpenAIRealtimeSIPModel.build_initial_session_payload(agent)
    body: Any = payload.model_dump(exclude_none=True)
    await client.realtime.calls.accept(call_id, **body)


async def accept_as_its_example_does(client: AsyncOpenAI, call_id: str, agent: RealtimeAgent) -> None:
    """Name another model than the one that it names when it attaches."""
    body = {"type": "realtime", "model": "gpt-realtime", "instructions": agent.instructions}
    await client.post(f"/realtime/calls/{call_id}/accept", body=body, cast_to=dict)


GREETING: Any = {"type": "response.create", "other_data": {"response": {"instructions": "Greet the caller now."}}}


def on_the_phone(
    test: Callable[[AsyncHandset, list[Talk]], Awaitable[None]],
    accept: Callable[[AsyncOpenAI, str, RealtimeAgent], Awaitable[None]] = accept_with_its_payload,
) -> Talk:
    """Let the agent answer a call as the package documents it: accept, attach by the call's id, greet."""
    talks: list[Talk] = []
    agent = desk()

    async def answer(webhook: Webhook) -> None:
        access = webhook.access
        async with AsyncOpenAI(
            api_key=access.api_key, base_url=access.base_url, http_client=DefaultAsyncHttpxClient()
        ) as client:
            await accept(client, webhook.call_id, agent)
        runner = RealtimeRunner(agent, model=OpenAIRealtimeSIPModel())
        url = access.base_url.replace("http", "ws", 1) + f"/realtime?call_id={webhook.call_id}"
        async with await runner.run(
            model_config={"api_key": access.api_key, "call_id": webhook.call_id, "url": url}
        ) as session:
            await session.model.send_event(RealtimeModelSendRawMessage(message=GREETING))
            talks.append(Talk(session))
            await talks[0].read()

    async def whole() -> None:
        async with AsyncHandset(model=scripted()) as phone:
            phone.model.told("greet the caller", "Good morning, this is the reception.")
            await phone.connect(answer)
            await test(phone, talks)

    clock = JumpingTime()
    try:
        clock.run(whole())
    finally:
        clock.close()
    (talk,) = talks
    return talk


@pytest.mark.parametrize("accept", [accept_with_its_payload, accept_as_its_example_does])
def test_agents_sdks_can_answer_telephone_calls(accept: Any) -> None:
    async def test(phone: AsyncHandset, talks: list[Talk]) -> None:
        call = await phone.dial("+15550001")
        await call.hears("this is the reception")
        await call.says("When are you open, please?")
        await call.hears("nine to five on monday")
        await call.says("It is about my bill")
        await call.hears("billing speaking")
        await call.hangup()

    talk = on_the_phone(test, accept)
    assert not talk.told("error")
    assert len(talk.told("tool_end")) == 1
    assert [event.to_agent.name for event in talk.told("handoff")] == ["Billing"]
    assert not talk.told("audio"), "the telephone plays, the sideband has none"
    assert talk.history == [
        ("assistant", "Good morning, this is the reception."),
        ("user", "When are you open, please?"),
        ("assistant", "We are here from nine to five on Monday."),
        ("user", "It is about my bill"),
        ("assistant", "Billing speaking."),
    ]


def test_a_caller_interrupts_the_agent_and_the_model_knows_what_was_heard() -> None:
    said: list[str] = []

    async def test(phone: AsyncHandset, talks: list[Talk]) -> None:
        call = await phone.dial()
        await call.hears("this is the reception")
        await call.says("Please tell me a story")
        await call.hears("telephone")
        await call.says("that is enough for me", interrupting=True)
        await call.hears("as you like")
        cut = talks[0].sent("conversation.item.truncated")[0]
        said.append(_said(phone.model.requests[-1], cut["item_id"]))
        await call.hangup()

    talk = on_the_phone(test)
    assert not talk.told("error")
    assert len(talk.sent("conversation.item.truncated")) == 1, "the server alone knows what was played"
    assert talk.sent("output_audio_buffer.cleared")
    assert said[0].startswith("Once upon a time")
    assert len(said[0]) < len(STORY)
