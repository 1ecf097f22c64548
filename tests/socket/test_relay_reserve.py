"""Calls whose upstream cannot be reached: another model stands in, or the caller hears that something is wrong."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.socket.live import Live, Socket, live, until
from tests.socket.test_relay import TRANSCRIBED, Relayed, done, run

from offhook.audio.tone import find_tones
from offhook.model.cascade import Cascade
from offhook.model.fallback import Order, Seat
from offhook.model.interface import ModelError, Sound, Speech, Words
from offhook.model.ordered import OrderedEar, OrderedMind, OrderedVoice
from offhook.model.relay import RelayBackend, Reserve
from offhook.model.scripted import HEARD, ScriptedBackend, ScriptedEar, ScriptedVoice
from offhook.model.settings import Role
from offhook.session.inputs import GenerationFinished, TextProduced
from offhook.session.outputs import Generate
from offhook.testing.clock import JumpLoop
from offhook.testing.voice import voice
from offhook.wire.items import Message
from offhook.wire.session import TranscriptionEcho, Voice

UNANSWERED = {
    "audio": {
        "input": TRANSCRIBED["audio"]["input"] | {"turn_detection": {"type": "server_vad", "create_response": False}}
    }
}


def nobody() -> str:
    """The URL of a port that nobody listens on."""
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{free.getsockname()[1]}"


class Mind:
    """Repeats what was said last."""

    name = "repeats"

    async def generate(self, request: Generate) -> AsyncIterator[object]:
        last = request.items[-1]
        assert isinstance(last, Message)
        yield TextProduced(request.run, f"You said: {last.content[0].transcript}")
        yield GenerationFinished(request.run)


class Deaf(ScriptedEar):
    """Fails."""

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        raise ModelError("server_error", "It is deaf.")
        yield  # type: ignore[unreachable]


class Mute(ScriptedVoice):
    """Fails."""

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        raise ModelError("server_error", "It is mute.")
        yield  # type: ignore[unreachable]


def cascade(ear: ScriptedEar | None = None) -> Cascade:
    def order(role: Role, part: Any) -> Order[Any]:
        return Order(role, [Seat("it", part, 4.0)], lambda: 0.0)

    return Cascade(
        "parts",
        OrderedEar(order("stt", ear or ScriptedEar())),
        OrderedMind(order("llm", Mind())),
        OrderedVoice(order("tts", ScriptedVoice())),
    )


def with_reserve(
    test: Callable[[Live, RelayBackend], Awaitable[None]], reserve: Reserve | None = None, **flags: Any
) -> None:
    """Run a test with a server whose upstream is not there."""

    async def whole() -> None:
        async with asyncio.timeout(120), live(relay_url=nobody(), relay_seconds=1.0, **flags) as here:
            backend = here.server.backend
            assert isinstance(backend, RelayBackend)
            if reserve is not None:
                backend.reserve = reserve
            await test(here, backend)

    with asyncio.Runner(loop_factory=JumpLoop) as runner:
        runner.run(whole())


def test_another_model_hears_and_answers_while_there_is_no_upstream(tmp_path: Path) -> None:
    async def test(here: Live, backend: RelayBackend) -> None:
        call, call_id = await here.talk(TRANSCRIBED)
        async with here.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            for number in (1, 2):
                await call.say(voice(900))
                await socket.until("output_audio_buffer.stopped")
                response = done(socket)[-1]
                assert response["status"] == "completed"
                assert response["output"][0]["content"][0]["transcript"] == f"You said: {HEARD}"
                heard = [each for each in socket.events if each["type"].endswith("transcription.completed")]
                assert [each["transcript"] for each in heard] == [HEARD] * number
        health = (await here.http("GET", "/health")).json()["models"]
        assert (health["stood_in"], health["stand_in"]["name"]) == (2, "parts")
        assert call.end is None
        parts = (await here.record(call_id))["cost"]["parts"]
        assert {each["backend"] for each in parts} == {"it"}, "the relay did nothing"

    settings = tmp_path / "offhook.toml"
    settings.write_text("[prices.relay]\nper_audio_minute = 1\n")
    with_reserve(test, Reserve(cascade()), toml=settings)


def test_the_settings_name_what_stands_in_and_it_is_started(tmp_path: Path) -> None:
    async def test(here: Live, backend: RelayBackend) -> None:
        assert isinstance(backend.reserve.stand_in, ScriptedBackend)
        call, call_id = await here.talk()
        async with here.sdk.realtime.connect(call_id=call_id) as connection:
            await call.say(voice(900))
            await Socket(connection).until("output_audio_buffer.stopped")
        assert len(find_tones(call.heard)) == 1

    settings = tmp_path / "offhook.toml"
    settings.write_text('models = "scripted"\nbackend = ["parts"]\n')
    with_reserve(test, toml=settings)


def test_an_upstream_that_comes_back_goes_on_with_what_was_said_meanwhile() -> None:
    async def test(each: Relayed) -> None:
        backend = each.here.server.backend
        assert isinstance(backend, RelayBackend)
        backend.reserve = Reserve(cascade())
        call, call_id = await each.here.talk()
        async with each.sideband(call_id) as (_, socket):
            await until(lambda: backend.sockets == 1)
            each.cord.refuses = True
            each.cord.cut()
            await until(lambda: backend.lost >= 2)
            await call.say(voice(900))
            await socket.until("output_audio_buffer.stopped")
            assert done(socket)[-1]["output"][0]["content"][0]["transcript"] == f"You said: {HEARD}"
            each.cord.refuses = False
            await until(lambda: backend.sockets == 1)
            await call.say(voice(900))
            await socket.until("output_audio_buffer.stopped")
            assert done(socket)[-1]["output"][0]["content"][0]["transcript"].startswith("Scripted answer")
        roles = [item.role for item in each.model.asked[-1].items if isinstance(item, Message)]
        assert roles == ["user", "assistant", "user"]
        assert backend.stood_in == 1

    run(test)


def test_a_caller_hears_an_apology_where_there_is_a_voice_and_clients_hear_the_reason() -> None:
    async def test(here: Live, backend: RelayBackend) -> None:
        call, call_id = await here.talk()
        async with here.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await call.say(voice(900))
            await socket.until("output_audio_buffer.stopped")
            (response,) = done(socket)
            assert response["status"] == "failed"
            assert response["status_details"]["error"]["message"] == "The model could not be reached."
            assert response["output"][0]["content"][0]["transcript"] == "Something went wrong."
        assert len(find_tones(call.heard)) == 1
        assert call.end is None

    with_reserve(test, Reserve(voice=ScriptedVoice(), apology="Something went wrong."))


def test_a_reserve_that_fails_too_fails_the_response_and_not_the_call() -> None:
    async def test(here: Live, backend: RelayBackend) -> None:
        for reserve in (Reserve(cascade(Deaf())), Reserve(voice=Mute(), apology="Something went wrong.")):
            backend.reserve = reserve
            call, call_id = await here.talk()
            async with here.sdk.realtime.connect(call_id=call_id) as connection:
                socket = Socket(connection)
                await call.say(voice(900))
                await socket.until("response.done")
                assert done(socket)[-1]["status"] == "failed"
            assert call.end is None
            await call.hang_up()

    with_reserve(test)


class Slow(ScriptedEar):
    """Takes its time."""

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        await asyncio.sleep(2.0)
        async for words in super().transcribe(speech, wanted):
            yield words


def heard_of(socket: Socket) -> list[str]:
    return [each["item_id"] for each in socket.events if each["type"].endswith("transcription.completed")]


def test_a_caller_who_goes_on_while_the_other_model_hears_loses_no_turn() -> None:
    async def test(here: Live, backend: RelayBackend) -> None:
        call, call_id = await here.talk(TRANSCRIBED)
        async with here.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await call.say(voice(900))
            await until(lambda: backend.stood_in == 1)
            await call.say(voice(900, seed=3))
            await socket.until("output_audio_buffer.stopped")
            committed = [each["item_id"] for each in socket.events if each["type"] == "input_audio_buffer.committed"]
            assert [response["status"] for response in done(socket)] == ["cancelled", "completed"]
            assert heard_of(socket) == committed

    with_reserve(test, Reserve(cascade(Slow())))


def test_the_last_words_of_a_caller_are_told_by_who_stands_in() -> None:
    async def test(here: Live, backend: RelayBackend) -> None:
        call, call_id = await here.talk(TRANSCRIBED)
        async with here.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await call.say(voice(900))
            await until(lambda: backend.stood_in == 1)
            await call.hang_up()
            await socket.until("conversation.item.input_audio_transcription.completed")

    with_reserve(test, Reserve(cascade(Slow())))


def test_turns_that_nobody_answers_get_words_although_upstream_has_refused() -> None:
    async def test(each: Relayed) -> None:
        backend = each.here.server.backend
        assert isinstance(backend, RelayBackend)
        backend.reserve = Reserve(cascade())
        call, call_id = await each.here.talk(UNANSWERED)
        async with each.here.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await until(lambda: backend.refused == 1)
            await call.say(voice(900))
            await socket.until("conversation.item.input_audio_transcription.completed")
            assert socket.events[-1]["transcript"] == HEARD

    run(test, key="wrong")


def test_what_stands_in_and_is_no_cascade_is_paid_by_its_name(tmp_path: Path) -> None:
    async def test(here: Live, backend: RelayBackend) -> None:
        call, call_id = await here.talk(TRANSCRIBED)
        async with here.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            await call.say(voice(900))
            await socket.until("output_audio_buffer.stopped")
        cost = (await here.record(call_id))["cost"]
        parts = {each["part"]: each for each in cost["parts"]}
        assert {each["backend"] for each in parts.values()} == {"other"}, "the relay did nothing"
        assert parts["stt"]["amount"] > 0
        assert parts["backend"]["output_tokens"] > 0
        assert parts["backend"]["amount"] > 0
        assert parts["backend"]["estimated"] is True, "it does not count"
        assert cost["missing"] == []

    settings = tmp_path / "offhook.toml"
    settings.write_text(
        'models = "scripted"\nbackend = ["other"]\n'
        '[backends.other]\nplugin = "scripted"\n'
        "[prices.other]\nper_audio_minute = 5\nper_million_input_tokens = 1000\nper_million_output_tokens = 1000\n"
        "per_million_audio_input_tokens = 1000\nper_million_audio_output_tokens = 1000\n"
    )
    with_reserve(test, toml=settings)
