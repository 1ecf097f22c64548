"""The examples of docs/client.md answer calls."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.docs.test_docs import blocks
from tests.scripted_transport import Outcome, Scripted, answer
from tests.socket.live import KEY, SECRET, Live, run

import offhook

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


def names_of(block: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(block, names)
    return names


@pytest.fixture
def examples() -> list[str]:
    return blocks(PAGE, "python")


@pytest.mark.real_time
def test_the_first_examples_answer_a_call(
    examples: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def test(one: Live) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", one.ready.http + "/v1")
        monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
        names = names_of(examples[0])
        caller, _ = await one.ring()
        hook = one.hooks.received[-1]
        await asyncio.to_thread(names["answer"], hook.body, hook.headers)
        await caller.ended()
        names["client"].close()
        caller, call_id = await one.ring()
        await names_of(examples[1])["answer"](call_id)
        await caller.ended()

    run(test)
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (answer(), "answered"),
        (answer(404), "the caller has hung up"),
        (
            answer(400, b'{"error":{"message":"Bad.","param":"session.type"}}', x_request_id="req_1"),
            "session.type: Bad. (req_1)",
        ),
        (offhook.APITimeoutError("late"), "no answer in time"),
        (offhook.APIConnectionError("lost"), "no connection"),
    ],
)
def test_the_example_of_errors_tells_them_apart(examples: list[str], outcome: Outcome, said: str) -> None:
    client = offhook.Client(api_key=KEY, transport=Scripted([outcome]), max_retries=0)
    assert names_of(examples[2])["pick_up"](client, "rtc_1") == said
