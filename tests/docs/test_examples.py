"""The example application survives what models and callers do."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.core.talk import Talk
from tests.oracle import sdk_adapter
from tests.socket.model_server import Received, Reply, serve

from offhook.session import inputs as happened
from offhook.testing.handset import AsyncHandset
from offhook.testing.model import Calls
from offhook.testing.sync import JumpingTime

EXAMPLES = Path(__file__).parents[2] / "examples"
HOURS = {"type": "function", "name": "opening_hours", "parameters": {"type": "object", "properties": {}}}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def receptionist(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    return load("receptionist")


class Connection:
    """The SDK's side of a sideband: passes what the application sends to the conversation."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.outputs: list[str] = []
        self.conversation = SimpleNamespace(item=SimpleNamespace(create=self._add))
        self.response = SimpleNamespace(create=self._respond)

    def _add(self, item: dict[str, Any]) -> None:
        self.outputs.append(item["output"])
        assert "error" not in [event["type"] for event in self.talk.client("conversation.item.create", item=item)]

    def _respond(self) -> None:
        assert "error" not in [event["type"] for event in self.talk.client("response.create")]


def follow(receptionist: ModuleType, talk: Talk) -> Connection:
    """Let the application act on everything that the conversation has sent so far."""
    connection = Connection(talk)
    for event in list(talk.sent):
        receptionist.follow(connection, sdk_adapter().validate_python(event))
    return connection


def calling(arguments: str) -> Talk:
    talk = Talk(tools=[HOURS])
    talk.client("response.create")
    run = talk.generate().run
    talk.happens(happened.ToolCallStarted(run, 0, "opening_hours", "call_a"))
    talk.happens(happened.ToolArgumentsProduced(run, 0, arguments))
    return talk


def test_a_function_call_is_answered_once_its_response_is_complete(receptionist: ModuleType) -> None:
    talk = calling('{"day": "Monday"}')
    talk.happens(happened.GenerationFinished(talk.generate().run))
    assert follow(receptionist, talk).outputs == ["On Monday the clinic is open from nine to five."]
    assert talk.generate().run == 2, "the model goes on with the result"


def test_a_function_call_that_the_caller_interrupted_is_not_made(receptionist: ModuleType) -> None:
    talk = calling('{"day": "Mon')
    talk.happens(happened.VoiceStarted(300))
    assert follow(receptionist, talk).outputs == []
    assert talk.generate().run == 1


@pytest.mark.parametrize("arguments", ['{"weekday": "Monday"}', "[]", "null", '{"day": ', '"Monday"'])
def test_arguments_that_make_no_sense_are_told_to_the_model(receptionist: ModuleType, arguments: str) -> None:
    talk = calling(arguments)
    talk.happens(happened.GenerationFinished(talk.generate().run))
    (output,) = follow(receptionist, talk).outputs
    assert "opening_hours" in output
    assert talk.generate().run == 2


@pytest.mark.real_time
def test_a_caller_who_hangs_up_between_accept_and_connect_ends_nothing_but_the_call(
    receptionist: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reply(received: Received) -> Reply:
        return Reply([b"{}"], 200 if received.path.endswith("/accept") else 404, content_type="application/json")

    async def test() -> None:
        async with asyncio.timeout(20), serve(reply) as host:
            monkeypatch.setattr(receptionist, "client", receptionist.OpenAI(base_url=host.url))
            await asyncio.to_thread(receptionist.answer, "rtc_1")

    asyncio.run(test())
    assert capsys.readouterr().out.splitlines() == ["the call is accepted", "the caller has hung up"]


@pytest.mark.real_time
def test_the_receptionist_of_few_lines_answers_calls(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    application = load("app")

    async def test() -> None:
        async with AsyncHandset() as phone:
            monkeypatch.setenv("OPENAI_BASE_URL", phone.access.base_url)
            monkeypatch.setenv("OPENAI_API_KEY", phone.access.api_key)
            monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", phone.access.webhook_secret)
            await phone.connect(application.app)
            phone.model.hears("open", Calls("opening_hours", {"day": "Monday"}))
            phone.model.result("opening_hours", lambda hours: hours)
            call = await phone.dial("+15550001")
            await call.hears("how can I help")
            await call.says("when do you open")
            await call.hears("from nine to five")
            call.press("7")
            await phone.sleep(1000)
            await call.hangup()

    clock = JumpingTime()
    try:
        clock.run(test())
    finally:
        clock.close()
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "a call from +15550100",
        "the agent says: Good morning, how can I help?",
        "the caller was understood: when do you open",
        "the agent says: On Monday the clinic is open from nine to five.",
        "the caller pressed 7",
        "the call is over, ended by the caller",
    ]
