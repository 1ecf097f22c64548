"""A backend that fails: the next one takes the turn, the one that failed is left alone for a while, and it is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.core.test_demo_brain import caller, request

from offhook.errors import ConfigError
from offhook.model.cascade import Cascade
from offhook.model.fallback import MOST_REST_S, PATIENCE_S, REST_S, Order, Seat
from offhook.model.http import AnswerRefusedError
from offhook.model.interface import ModelError, ModelOutput, Sound, Speech, Words
from offhook.model.ordered import OrderedEar, OrderedMind, OrderedVoice
from offhook.model.scripted import ScriptedEar
from offhook.session.inputs import AudioProduced, GenerationFinished, TextProduced
from offhook.session.outputs import Generate
from offhook.testing.clock import JumpLoop
from offhook.testing.sync import close_loop
from offhook.wire.session import TranscriptionEcho, Voice

ENDPOINT, LOCAL = b"\1\0" * 80, b"\2\0" * 80


class Brain:
    name = "brain"

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        yield TextProduced(request.run, "We open at nine. We close at five. Come in.")
        yield GenerationFinished(request.run)


class Endpoint:
    """Speaks so many pieces, then does as ``then`` says, for ever."""

    name = "endpoint"

    def __init__(self, pieces: int, then: str) -> None:
        self.pieces = pieces
        self.then = then
        self.asked: list[str] = []

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        self.asked.append(text)
        for _ in range(2):
            if self.pieces == 0:
                if self.then == "hang":
                    await asyncio.Event().wait()
                raise ModelError("model_error", "The voice answered 500.")
            self.pieces -= 1
            yield Sound(ENDPOINT, 8000)


class Local:
    name = "local voice"

    def __init__(self, *, missing: bool = False) -> None:
        self.missing = missing

    async def start(self) -> None:
        if self.missing:
            raise ConfigError("--models", "is not installed")

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        yield Sound(LOCAL, 8000, text)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def voices(endpoint: Endpoint, local: Local | None = None) -> tuple[OrderedVoice, Clock]:
    clock = Clock()
    first = Seat[Any]("speech", endpoint, PATIENCE_S["tts"])
    reserve = Seat[Any]("local", local or Local(), PATIENCE_S["tts"], is_reserve=True)
    voice = OrderedVoice(Order("tts", [first, reserve], clock))
    asyncio.run(voice.start())
    return voice, clock


def answer(voice: OrderedVoice) -> list[tuple[str, str]]:
    """Return who spoke, and which words were told with the sound."""
    outputs: list[Any] = []

    async def whole() -> None:
        backend = Cascade("x", ScriptedEar(), Brain(), voice, "Sorry.")
        async for output in backend.respond(request(caller("When?"), modality="audio")):
            outputs.append(output)  # noqa: PERF401 - what came before a failure counts

    asyncio.run(whole())
    assert isinstance(outputs[-1], GenerationFinished)
    spoken = [each for each in outputs if isinstance(each, AudioProduced)]
    return [("endpoint" if each.pcm == ENDPOINT else "local", each.text) for each in spoken]


def shown(backend: str, name: str, *, resting: bool = False, failures: int = 0, stood_in: int = 0) -> dict[str, Any]:
    figures = {"ready": True, "resting": resting, "failures": failures, "stood_in": stood_in}
    return {"part": "tts", "backend": backend, "name": name} | figures


def test_a_plugin_that_cannot_report_does_not_take_the_figures_of_the_others_along() -> None:
    class Silent(Local):
        def report(self) -> dict[str, Any]:
            raise RuntimeError("the engine is gone")

    order = Order("tts", [Seat("mine", Silent(), 1.0)], lambda: 0.0)
    for voice in (Silent(), OrderedVoice(order)):
        report = Cascade("c", ScriptedEar(), Brain(), voice).report()
        assert report["voice"] == {"name": "local voice", "report": "failed"}
        assert report["brain"] == {"name": "brain"}
    several = Order("tts", [Seat("mine", Silent(), 1.0), Seat("other", Local(), 1.0)], lambda: 0.0).report()
    assert several["report"] == "failed"
    assert [each["backend"] for each in several["order"]] == ["mine", "other"]


def test_the_first_failure_in_an_answer_finishes_it_with_the_local_voice() -> None:
    endpoint = Endpoint(2, "fail")
    voice, _ = voices(endpoint)
    assert answer(voice) == [
        ("endpoint", "We open at nine. "),
        ("endpoint", ""),
        ("local", "We close at five. "),
        ("local", "Come in."),
    ]
    assert len(endpoint.asked) == 2, "the voice does not change back in the middle of an answer"
    assert voice.report() == {
        "order": [
            shown("speech", "endpoint", resting=True, failures=1),
            shown("local", "local voice", stood_in=2),
        ]
    }


def test_a_sentence_that_breaks_off_is_said_again_and_its_words_are_told_once() -> None:
    voice, _ = voices(Endpoint(1, "fail"))
    assert answer(voice)[:2] == [("endpoint", "We open at nine. "), ("local", "")]
    assert sum(text.count("nine") for _, text in answer(voice)) == 1


def test_an_endpoint_that_has_failed_is_left_alone_for_a_while_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "offhook")
    endpoint = Endpoint(0, "fail")
    voice, clock = voices(endpoint)
    for _ in range(3):
        assert {who for who, _ in answer(voice)} == {"local"}
    assert len(endpoint.asked) == 1
    clock.now = REST_S + 1
    answer(voice)
    assert len(endpoint.asked) == 2
    assert sum("stands in" in line for line in caplog.messages) == 1, "it is logged once"
    clock.now += 2 * REST_S - 1
    answer(voice)
    assert len(endpoint.asked) == 2, "after the second failure it rests for longer"
    clock.now += 2
    endpoint.pieces = 100
    assert {who for who, _ in answer(voice)} == {"endpoint"}
    assert "works again" in caplog.messages[-1]


def test_the_rest_of_a_backend_that_never_comes_back_stays_bounded() -> None:
    endpoint = Endpoint(0, "fail")
    voice, clock = voices(endpoint)
    for _ in range(50):
        answer(voice)
        clock.now += MOST_REST_S + 1
    assert len(endpoint.asked) == 50


def test_without_a_local_voice_the_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    voice, _ = voices(Endpoint(0, "fail"), Local(missing=True))
    assert "nothing stands in" in caplog.text
    with pytest.raises(ModelError, match="answered 500"):
        answer(voice)


@pytest.mark.parametrize("failure", [ConfigError("backends.b1", "cannot start: no"), OSError("no")])
def test_a_backend_that_was_named_and_cannot_start_refuses_to_start(failure: Exception) -> None:
    class Broken(Ear):
        async def start(self) -> None:
            raise failure

    order = Order("stt", seats(Ear("one"), Broken("two")), Clock())
    with pytest.raises(ConfigError, match=r"backends\.b1: cannot start: .*no"):
        asyncio.run(order.start())


def test_a_plugin_that_cannot_stop_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture) -> None:
    stopped = []

    class Stuck(Ear):
        async def start(self) -> None:
            raise OSError("no microphone")

        async def stop(self) -> None:
            raise AttributeError("'Stuck' object has no attribute '_client'")

    class Plain(Ear):
        async def stop(self) -> None:
            stopped.append(self.heard)

    order = Order("stt", seats(Plain("one"), Stuck("two"), Plain("three")), Clock())
    cascade = Cascade("c", OrderedEar(order), Mind("mind"), Local())
    with pytest.raises(ConfigError, match="cannot start: OSError: no microphone"):
        asyncio.run(cascade.start())
    assert stopped == ["three", "one"]
    assert "the backend did not stop" in caplog.text


# -- words and answers


class Ear:
    """Hears ``heard``, after it has failed as often as it is told to: before its words, or behind the first."""

    name = "ear"

    def __init__(self, heard: str, fails: int = 0, code: str = "model_error", *, late: bool = False) -> None:
        self.heard = heard
        self.fails = fails
        self.code = code
        self.late = late
        self.asked = 0

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        self.asked += 1
        fails, self.fails = self.fails > 0, self.fails - 1
        if fails and not self.late:
            raise ModelError(self.code, "It broke.")
        if self.heard:
            yield Words(self.heard)
        if fails:
            raise ModelError(self.code, "It broke.")


class Mind:
    name = "mind"

    def __init__(self, says: str, then: str = "end") -> None:
        self.says = says
        self.then = then
        self.asked = 0
        self.stopped = 0
        self.hangs = asyncio.Event()

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        self.asked += 1
        try:
            if self.then == "hang":
                self.hangs.set()
                await asyncio.Event().wait()
            if self.then == "bug":
                raise ZeroDivisionError
            if self.then == "own time-out":
                raise TimeoutError
            if self.says:
                yield TextProduced(request.run, self.says)
            if self.then == "break":
                raise ModelError("model_error", "It broke.")
            yield GenerationFinished(request.run)
        finally:
            self.stopped += 1


def seats(*parts: Any, patience_s: float = 5.0) -> list[Seat[Any]]:
    return [Seat(f"b{number}", part, patience_s) for number, part in enumerate(parts)]


def hear(ear: OrderedEar) -> str:
    async def whole() -> str:
        return "".join([words.text async for words in ear.transcribe(Speech(bytes(16000), 8000), None)])

    return asyncio.run(whole())


def think(mind: OrderedMind, **members: Any) -> str:
    async def whole() -> str:
        outputs = [output async for output in mind.generate(request(caller("When?"), **members))]
        assert isinstance(outputs[-1], GenerationFinished)
        return "".join(output.text for output in outputs if isinstance(output, TextProduced))

    return asyncio.run(whole())


def test_a_turn_that_one_cannot_hear_is_heard_by_the_next() -> None:
    first, clock = Ear("one", fails=1), Clock()
    ear = OrderedEar(Order("stt", seats(first, Ear("two")), clock))
    assert [hear(ear), hear(ear)] == ["two", "two"]
    clock.now = REST_S + 1
    assert hear(ear) == "one"
    assert ear.report()["order"][1]["stood_in"] == 2


def test_a_turn_without_words_was_heard_and_is_not_asked_again() -> None:
    second = Ear("made up")
    assert hear(OrderedEar(Order("stt", seats(Ear(""), second), Clock()))) == ""
    assert second.asked == 0


def test_words_that_were_told_are_never_told_again_in_those_of_another() -> None:
    second = Ear("two")
    ear = OrderedEar(Order("stt", seats(Ear("one", fails=1, late=True), second), Clock()))
    with pytest.raises(ModelError, match="It broke"):
        hear(ear)
    assert (second.asked, hear(ear)) == (0, "two")


def test_a_request_that_only_this_backend_cannot_serve_is_no_reason_to_leave_it_alone() -> None:
    first = Ear("one", fails=1, code="unsupported_language")
    ear = OrderedEar(Order("stt", seats(first, Ear("two")), Clock()))
    assert [hear(ear), hear(ear)] == ["two", "one"]


class Picky(Mind):
    """Refuses a request whose answer may have 13 tokens, with a status."""

    def __init__(self, says: str, status: int) -> None:
        super().__init__(says)
        self.status = status

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        if request.max_output_tokens == 13:
            raise AnswerRefusedError("model_error", "The language model answered: odd schema.", self.status)
        async for output in super().generate(request):
            yield output


@pytest.mark.parametrize(
    ("status", "answers"), [(400, "one"), (413, "one"), (415, "one"), (422, "one"), (401, "two"), (500, "two")]
)
def test_a_request_that_a_server_refuses_does_not_take_the_backend_away_from_the_other_calls(
    caplog: pytest.LogCaptureFixture, status: int, answers: str
) -> None:
    caplog.set_level(logging.INFO, "offhook")
    mind = OrderedMind(Order("llm", seats(Picky("one", status), Mind("two")), Clock()))
    assert think(mind, max_output_tokens=13) == "two", "the turn itself is taken by the next"
    assert "odd schema" in caplog.text
    assert think(mind) == answers


def test_a_refused_request_that_tried_whether_a_backend_is_back_leaves_that_to_the_next_turn() -> None:
    first, clock = Picky("one", 400), Clock()
    mind = OrderedMind(Order("llm", seats(first, Mind("two")), clock))
    first.then = "bug"
    assert think(mind) == "two"
    first.then = "end"
    assert (think(mind, max_output_tokens=13), think(mind)) == ("two", "two"), "it rests all the same"
    clock.now = REST_S + 1
    assert (think(mind, max_output_tokens=13), think(mind)) == ("two", "one")


def test_a_third_takes_the_turn_when_two_fail_and_the_last_failure_is_told_when_all_do() -> None:
    parts = [Ear("one", fails=9), Ear("two", fails=9), Ear("three", fails=1)]
    ear = OrderedEar(Order("stt", seats(*parts), Clock()))
    with pytest.raises(ModelError):
        hear(ear)
    assert [each.asked for each in parts] == [1, 1, 1]
    assert hear(ear) == "three", "when all of them rest, all are worth asking"


@pytest.mark.parametrize("then", ["hang", "bug", "break"])
def test_a_model_that_does_not_answer_leaves_the_turn_to_the_next(then: str) -> None:
    first, second = Mind("", then), Mind("Nine.")
    loop = JumpLoop()
    try:
        mind = OrderedMind(Order("llm", seats(first, second), loop.time))

        async def whole() -> list[ModelOutput]:
            return [output async for output in mind.generate(request(caller("When?")))]

        began = loop.time()
        outputs = loop.run_until_complete(whole())
        assert [type(output) for output in outputs] == [TextProduced, GenerationFinished]
        assert loop.time() - began == (5.0 if then == "hang" else 0.0), "as long as it may take to begin, no longer"
        loop.run_until_complete(whole())
        assert (first.asked, first.stopped, second.asked) == (1, 1, 2)
    finally:
        close_loop(loop)


def test_an_answer_that_broke_off_is_not_begun_again_by_another() -> None:
    second = Mind("Ten.")
    mind = OrderedMind(Order("llm", seats(Mind("Nine,", "break"), second), Clock()))
    with pytest.raises(ModelError, match="It broke"):
        think(mind)
    assert second.asked == 0
    assert think(mind) == "Ten."


def test_a_bug_of_the_only_backend_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        think(OrderedMind(Order("llm", seats(Mind("", "bug")), Clock())))


@pytest.mark.parametrize("others", [0, 1])
def test_a_time_out_of_a_backends_own_is_not_told_as_our_patience(
    caplog: pytest.LogCaptureFixture, others: int
) -> None:
    mind = OrderedMind(Order("llm", seats(Mind("", "own time-out"), *[Mind("Nine.")] * others), Clock()))
    if others:
        assert think(mind) == "Nine."
        assert "why=TimeoutError" in caplog.text
    else:
        with pytest.raises(TimeoutError):
            think(mind)


def test_one_turn_tries_whether_a_backend_is_back_and_the_others_do_not_wait_for_it() -> None:
    first, second, clock = Mind("", "break"), Mind("Nine."), Clock()
    mind = OrderedMind(Order("llm", seats(first, second), clock))
    think(mind)
    clock.now = REST_S + 1
    first.then = "hang"

    async def at_once() -> None:
        trying = asyncio.create_task(anext(aiter(mind.generate(request(caller("When?"))))))
        await first.hangs.wait()
        async for _ in mind.generate(request(caller("When?"))):
            pass
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)

    asyncio.run(at_once())
    assert (first.asked, second.asked) == (2, 2)


class EarlyEar(Ear):
    """Hears early, and fails at it."""

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> EarlyEar:
        return self

    def hasten(self) -> None: ...

    def cancel(self) -> None: ...

    def words(self) -> AsyncIterator[Words]:
        return self.transcribe(Speech(b"", 8000), None)


def test_a_turn_that_one_fails_to_hear_early_is_heard_by_the_next() -> None:
    ear = OrderedEar(Order("stt", seats(EarlyEar("one", fails=9), Ear("two")), Clock()))
    assert ear.hears_early
    hearing = ear.hear_early(Speech(bytes(16000), 8000), None)
    assert hearing is not None

    async def words() -> str:
        return "".join([piece.text async for piece in hearing.words()])

    assert asyncio.run(words()) == "two"
    assert ear.hear_early(Speech(bytes(16000), 8000), None) is None, "the one that hears now does not hear early"
