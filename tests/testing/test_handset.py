"""Calls in memory on jumping time: what is said is heard, what happens is told, and it happens the same every time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAI
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import offhook
from offhook.audio.wav import read_wav
from offhook.errors import LocalError
from offhook.testing.application import ApplicationError, Webhook
from offhook.testing.box import PhoneOptions
from offhook.testing.handset import AsyncHandset, NotHeardError
from offhook.testing.model import Calls, Fails, Thinks
from offhook.testing.phone import CallFailedError
from offhook.testing.sync import Call, Handset, JumpingTime

BOOK = {"type": "function", "name": "book", "parameters": {"type": "object", "properties": {}}}


def run(test: Callable[[AsyncHandset], Awaitable[None]], **options: Any) -> None:
    """Run a test in memory."""
    clock = JumpingTime()

    async def whole() -> None:
        async with AsyncHandset(PhoneOptions(**options)) as phone:
            await test(phone)

    try:
        clock.run(whole())
    finally:
        clock.close()


def sdk(webhook: Webhook) -> AsyncOpenAI:
    """The official SDK, as an application would make it."""
    access = webhook.access
    client = DefaultAsyncHttpxClient()
    return AsyncOpenAI(api_key=access.api_key, base_url=access.base_url, max_retries=0, http_client=client)


# -- speaking and hearing


def test_what_is_said_is_understood_and_the_answer_is_heard() -> None:
    with Handset() as phone:
        phone.model.hears("appointment", "For which day?")
        call = phone.dial("+15550001")
        call.says("I need an appointment, please")
        line = call.hears("which day", within_ms=3000)
        call.hears_silence()
        call.hangup()
        assert line.who == "agent"
        assert [str(each) for each in call.transcript] == [
            "caller: I need an appointment, please",
            "agent: For which day?",
        ]
        assert call.end is not None
        assert call.end.by == "us"


def test_a_word_that_was_not_said_is_not_heard_and_the_failure_says_what_was() -> None:
    with Handset() as phone:
        phone.model.otherwise("Good morning.")
        call = phone.dial()
        call.says("hello there")
        with pytest.raises(NotHeardError, match=r'"tuesday" was not heard within 2000 ms(.|\n)*agent: Good morning\.'):
            call.hears("tuesday", within_ms=2000)


def test_what_the_agent_said_before_does_not_count() -> None:
    with Handset() as phone:
        phone.model.turn(1, "One moment.").turn(2, "And now?")
        call = phone.dial()
        call.says("the first turn")
        call.hears("one moment")
        call.says("the second turn")
        with pytest.raises(NotHeardError):
            call.hears("one moment", within_ms=1500)


def test_a_caller_who_interrupts_cuts_the_agent_and_hears_no_more_of_it() -> None:
    story = "Once upon a time there was a telephone in a house that nobody ever answered. It rang and rang."
    with Handset() as phone:
        phone.model.hears("story", story).hears("stop", "As you wish.")
        call = phone.dial()
        call.says("tell me a story")
        call.hears("once upon")
        call.says("stop please", interrupting=True)
        call.hears("as you wish")
        call.hears_silence()
        heard = [line.text for line in call.transcript if line.who == "agent"]
        assert story.startswith(heard[0])
        assert "rang" not in heard[0]
        assert heard[1:] == ["As you wish."]
        (cut,) = [event for event in call.events if event["type"] == "conversation.item.truncated"]
        assert 0 < cut["audio_end_ms"] < 2000
        (interruption,) = call.latency.interruptions_ms
        assert interruption < 200


def test_a_polite_caller_lets_the_agent_finish() -> None:
    with Handset() as phone:
        phone.model.turn(1, "This is a rather long answer to a short question.").turn(2, "Yes.")
        call = phone.dial()
        call.says("go on")
        call.hears("rather")
        call.says("and then")
        call.hears("yes")
        assert not call.latency.interruptions_ms
        assert not [event for event in call.events if event["type"] == "conversation.item.truncated"]


def test_keys_are_pressed_and_told_to_the_application() -> None:
    with Handset() as phone:
        call = phone.dial()
        call.press("12#")
        keys = [event["event"] for event in call.events if event["type"].endswith("dtmf_event_received")]
        assert keys == ["1", "2", "#"]


def test_hold_and_resume_are_agreed_with_the_server() -> None:
    with Handset() as phone:
        phone.model.otherwise("Welcome back.")
        call = phone.dial()
        call.hold()
        phone.sleep(60_000)
        call.resume()
        call.says("here I am again")
        call.hears("welcome back")
        assert [event["on_hold"] for event in call.events if event["type"] == "offhook.call.hold"] == [True, False]


def test_the_recording_is_a_stereo_wav_of_both_sides(tmp_path: Any) -> None:
    with Handset() as phone:
        call = phone.dial()
        call.says("one two three")
        call.hears_sound()
        call.hears_silence()
        call.hangup()
        call.save_recording(tmp_path / "call.wav")
        (delay_ms,) = call.latency.turns_ms
    wav = read_wav((tmp_path / "call.wav").read_bytes())
    assert (wav.rate_hz, wav.samples.shape[1]) == (8000, 2)
    assert 400 <= delay_ms <= 600, "the silence that ends a turn, and little else"


# -- the model


def test_functions_are_called_and_their_results_are_spoken() -> None:
    async def answer(webhook: Webhook) -> None:
        async with sdk(webhook) as client:
            await client.realtime.calls.accept(webhook.call_id, type="realtime", tools=[BOOK])  # type: ignore[list-item]
            async with client.realtime.connect(call_id=webhook.call_id) as connection:
                async for event in connection:
                    if event.type == "response.function_call_arguments.done":
                        output = {"type": "function_call_output", "call_id": event.call_id, "output": "Tuesday"}
                        await connection.conversation.item.create(item=output)  # type: ignore[arg-type]
                    if event.type == "response.done" and event.response.output[0].type == "function_call":
                        await connection.response.create()

    async def test(phone: AsyncHandset) -> None:
        await phone.connect(answer)
        phone.model.hears("appointment", Calls("book", {"day": "Tuesday"}))
        phone.model.result("book", lambda output: f"You are booked for {output}.")
        call = await phone.dial()
        await call.says("an appointment please")
        await call.hears("booked for Tuesday")
        await call.hangup()
        assert phone.model.requests[0].tools[0].name == "book"  # type: ignore[union-attr]

    run(test)


def test_a_function_that_the_session_does_not_have_fails_the_response_in_words() -> None:
    with Handset() as phone:
        phone.model.otherwise(Calls("nothing_of_this_name"))
        call = phone.dial()
        call.says("hello there")
        with pytest.raises(NotHeardError):
            call.hears_sound(within_ms=2000)
        (done,) = [event for event in call.events if event["type"] == "response.done"]
        assert "the session's functions are: none" in done["response"]["status_details"]["error"]["message"]


def test_a_model_that_thinks_and_fails_is_answered_late_and_not_at_all() -> None:
    with Handset() as phone:
        phone.model.turn(1, Thinks(4000), "That took a while.").turn(2, Fails("rate_limit_exceeded"))
        call = phone.dial()
        call.says("think about it")
        with pytest.raises(NotHeardError):
            call.hears_sound(within_ms=3000)
        call.hears("took a while", within_ms=3000)
        call.says("and again")
        with pytest.raises(NotHeardError):
            call.hears_sound(within_ms=3000)
        done = [event["response"]["status"] for event in call.events if event["type"] == "response.done"]
        assert done == ["completed", "failed"]


# -- the application


def test_a_call_that_the_application_rejects_is_seen_by_its_status() -> None:
    async def answer(webhook: Webhook) -> None:
        async with sdk(webhook) as client:
            await client.realtime.calls.reject(webhook.call_id, status_code=486)

    with Handset() as phone:
        phone.connect(answer)
        call = phone.dial()
        assert call.end is not None
        assert (call.end.by, call.end.status) == ("them", 486)
        with pytest.raises(CallFailedError):
            call.says("anybody there")


def test_headers_and_the_called_number_reach_the_application() -> None:
    seen: list[str | None] = []

    async def answer(webhook: Webhook) -> None:
        seen.extend([webhook.sip_header("x-trunk"), webhook.sip_header("To"), webhook.sip_header("X-Missing")])

    with Handset(PhoneOptions(settings={"ring_seconds": 3.0})) as phone:
        phone.connect(answer)
        call = phone.dial("+15550001", headers={"X-Trunk": "blue"})
        assert call.end is not None
        assert call.end.status == 480, "nobody accepted"
    assert seen[0] == "blue"
    assert "+15550001" in str(seen[1])
    assert seen[2] is None


def test_an_asgi_application_verifies_the_webhook_and_answers_with_the_official_sdk() -> None:
    lived: list[str] = []

    async def hook(request: Request) -> Response:
        access = phone.access
        body = await request.body()
        async with AsyncOpenAI(
            api_key=access.api_key,
            base_url=access.base_url,
            webhook_secret=access.webhook_secret,
            http_client=DefaultAsyncHttpxClient(),
        ) as client:
            event = client.webhooks.unwrap(body, request.headers)
            await client.realtime.calls.accept(event.data.call_id, type="realtime")  # type: ignore[union-attr]
        return Response()

    async def live(app: Starlette) -> Any:
        lived.append("begins")
        yield
        lived.append("ends")

    from contextlib import asynccontextmanager

    app = Starlette(routes=[Route("/hook", hook, methods=["POST"])], lifespan=asynccontextmanager(live))
    with Handset() as phone:
        phone.model.otherwise("Good day.")
        phone.connect(app, path="/hook")
        call = phone.dial()
        call.says("hello you")
        call.hears("good day")
        call.hangup()
    assert lived == ["begins", "ends"]


def test_a_plain_function_with_the_synchronous_sdk_is_waited_for_in_real_time() -> None:
    def answer(webhook: Webhook) -> None:
        access = webhook.access
        with OpenAI(api_key=access.api_key, base_url=access.base_url, max_retries=0) as client:
            client.realtime.calls.accept(webhook.call_id, type="realtime")

    with Handset() as phone:
        phone.connect(answer)
        call = phone.dial()
        assert call.end is None


def test_a_function_in_a_thread_of_starlette_is_waited_for_too() -> None:
    def accept(body: bytes) -> None:
        call_id = msgspec.json.decode(body)["data"]["call_id"]
        time.sleep(0.05)
        access = phone.access
        with OpenAI(api_key=access.api_key, base_url=access.base_url, max_retries=0) as client:
            client.realtime.calls.accept(call_id, type="realtime")

    async def hook(request: Request) -> Response:
        await run_in_threadpool(accept, await request.body())
        return Response()

    with Handset() as phone:
        phone.connect(Starlette(routes=[Route("/", hook, methods=["POST"])]))
        call = phone.dial()
        assert call.end is None


def test_an_application_that_raises_fails_the_test_with_its_own_error() -> None:
    async def answer(webhook: Webhook) -> None:
        raise ValueError("nobody expected this")

    def test() -> None:
        with Handset(PhoneOptions(settings={"ring_seconds": 2.0})) as phone:
            phone.connect(answer)
            phone.dial()

    with pytest.raises(ApplicationError, match="ValueError: nobody expected this") as caught:
        test()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_url_is_refused_on_jumping_time() -> None:
    with Handset() as phone, pytest.raises(LocalError, match="real=True"):
        phone.connect("http://127.0.0.1:8000/hook")


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


@pytest.mark.parametrize(("app", "says"), [(42, "neither"), (wsgi, "WSGI")])
def test_something_that_is_no_application_is_refused(app: Any, says: str) -> None:
    with Handset() as phone, pytest.raises(LocalError, match=says):
        phone.connect(app)


# -- time and chance


def test_an_application_on_the_official_sdk_gives_the_same_call_every_time() -> None:
    async def answer(webhook: Webhook) -> None:
        async with sdk(webhook) as client:
            await client.realtime.calls.accept(webhook.call_id, type="realtime")
            async with client.realtime.connect(call_id=webhook.call_id) as connection:
                await connection.response.create()
                async for event in connection:
                    if event.type == "input_audio_buffer.dtmf_event_received":  # type: ignore[comparison-overlap]
                        await client.realtime.calls.hangup(webhook.call_id)

    def once() -> tuple[list[Any], str, bytes]:
        with Handset(PhoneOptions(seed=11, jitter_ms=20)) as phone:
            phone.connect(answer)
            phone.model.greets("Good morning.").otherwise("Pardon?")
            call = phone.dial()
            call.hears("good morning")
            call.says("what is this")
            call.hears("pardon")
            call.press("1")
            assert call.ended().by == "them"
            return call.events, str(phone.ladder), call.recording

    assert once() == once()


@pytest.mark.parametrize("path", ["connects", "opens no socket"])
def test_the_client_of_offhook_answers_without_leaving_the_loop(path: str) -> None:
    async def answer(webhook: Webhook) -> None:
        access = webhook.access
        async with offhook.AsyncClient(
            api_key=access.api_key, base_url=access.base_url, webhook_secret=access.webhook_secret
        ) as client:
            event = client.webhooks.unwrap(webhook.body, webhook.headers)
            await client.realtime.calls.accept(event.data.call_id, type="realtime")
            if path == "connects":
                async with client.realtime.connect(call_id=event.data.call_id) as connection:
                    await connection.response.create()
                    async for _ in connection:
                        pass

    with Handset() as phone:
        phone.connect(answer)
        phone.model.greets("Good morning.").otherwise("Good day.")
        call = phone.dial()
        if path == "connects":
            call.hears("good morning")
        call.says("hello to you")
        call.hears("good day")
        call.hangup()


def story(seed: int) -> tuple[list[Any], list[str], bytes, str]:
    options = PhoneOptions(seed=seed, loss=0.03, copies=0.01, delay_ms=40, jitter_ms=60)
    with Handset(options) as phone:
        phone.model.greets("Good morning.").hears("appointment", "For which day?").otherwise("Pardon?")
        call = phone.dial("+15550001")
        call.says("I need an appointment")
        call.hears_sound()
        call.hears_silence()
        call.says("on Monday", interrupting=False)
        call.hears_silence(2000)
        call.hangup()
        return call.events, [str(line) for line in call.transcript], call.recording, str(phone.ladder)


def test_the_same_seed_gives_the_same_call_to_the_last_sample() -> None:
    assert story(7) == story(7)


def test_another_seed_gives_another_call() -> None:
    assert story(7)[2] != story(8)[2]


def test_words_that_were_lost_on_the_line_are_not_heard() -> None:
    words = "Nine o'clock on Monday morning would suit us very well indeed."
    with Handset(PhoneOptions(loss=0.4, seed=5)) as phone:
        phone.model.otherwise(words)
        call = phone.dial()
        call.says("is anybody there at all today")
        call.hears_sound()
        call.hears_silence(1000)
        heard = " ".join(line.text for line in call.transcript if line.who == "agent").split()
    assert 0 < len(heard) < len(words.split())
    assert set(heard) < set(words.split())


def test_two_calls_at_a_time_do_not_hear_each_other() -> None:
    async def test(phone: AsyncHandset) -> None:
        phone.model.hears("red", "You said red.").hears("blue", "You said blue.")

        async def talk(colour: str) -> list[str]:
            call = await phone.dial()
            await call.says(f"my colour is {colour}")
            await call.hears(f"said {colour}")
            await call.hears_silence()
            return [line.text for line in call.transcript if line.who == "agent"]

        said = await asyncio.gather(talk("red"), talk("blue"))
        assert said == [["You said red."], ["You said blue."]]

    run(test)


def test_the_end_of_a_session_is_reached_without_waiting_for_it() -> None:
    with Handset(PhoneOptions(settings={"session_seconds": 100.0})) as phone:
        call = phone.dial()
        end = call.ended(within_ms=101_000)
        assert (end.by, phone.ladder.rungs[-1].at_s // 1) == ("them", 100)


def test_a_handset_on_a_loop_that_waits_is_refused() -> None:
    async def whole() -> None:
        async with AsyncHandset():
            pass

    with pytest.raises(LocalError, match="waits in real time"):
        asyncio.run(whole())


# -- real sockets


def test_the_same_words_work_on_real_sockets_in_real_time() -> None:
    async def answer(webhook: Webhook) -> None:
        async with sdk(webhook) as client:
            await client.realtime.calls.accept(webhook.call_id, type="realtime")

    with Handset(PhoneOptions(real=True)) as phone:
        phone.connect(answer)
        phone.model.hears("appointment", "For which day?")
        call = phone.dial("+15550001")
        assert understood(call), "even a busy machine lets one of these through"
        call.hangup()
        assert "INVITE" in str(phone.ladder)


def understood(call: Call) -> bool:
    """Say it until it is answered: in real time, a busy machine loses packets, and words with them."""
    for _ in range(6):
        call.says("an appointment please")
        with contextlib.suppress(NotHeardError):
            return call.hears("which day", within_ms=5000).text == "which day?"
    return False
