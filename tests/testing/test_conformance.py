"""Our own backends keep what their protocols promise, and a backend that breaks a promise is found out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.recorded import said
from tests.socket.model_server import Reply, serve

from offhook.audio.pcm import to_bytes
from offhook.errors import ConfigError
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.fallback import Order, Seat
from offhook.model.http import ModelServer
from offhook.model.interface import Capabilities, ModelError, ModelOutput, Sound, Speech, Words
from offhook.model.local.ear import EarOptions, local_ear
from offhook.model.local.voice import VoiceOptions, local_voice
from offhook.model.local.voices import assets
from offhook.model.local.whisper.folder import is_installed
from offhook.model.openai_audio import SpokenOverHttp, Transcriptions
from offhook.model.openai_http import ChatCompletions, ChatOptions
from offhook.model.ordered import OrderedEar, OrderedMind, OrderedVoice
from offhook.model.scripted import ScriptedBackend, ScriptedEar, ScriptedVoice
from offhook.session.inputs import (
    AudioProduced,
    GenerationFinished,
    TextProduced,
    ToolArgumentsProduced,
    ToolCallStarted,
    WordsFinished,
)
from offhook.session.outputs import Generate
from offhook.testing.conformance import (
    BackendConformance,
    LanguageModelConformance,
    SpeechToTextConformance,
    TextToSpeechConformance,
)

# -- ours


class TestScriptedEar(SpeechToTextConformance):
    heard = "scripted recogniser"
    make = ScriptedEar  # type: ignore[assignment]


class TestScriptedVoice(TextToSpeechConformance):
    make = ScriptedVoice  # type: ignore[assignment]


class TestScriptedBackend(BackendConformance):
    make = ScriptedBackend  # type: ignore[assignment]


class TestDemoBrain(LanguageModelConformance):
    calls_tools = True
    make = DemoBrain  # type: ignore[assignment]


class TestCascade(BackendConformance):
    def make(self) -> Cascade:
        return Cascade("cascade", ScriptedEar(), DemoBrain(), ScriptedVoice(), "Sorry.")

    def make_failing(self) -> Cascade:
        return Cascade("cascade", ScriptedEar(), Failing(), ScriptedVoice())


class Failing:
    """Fails at everything."""

    name = "failing"

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        raise ModelError("model_error", "It broke.")
        yield

    async def transcribe(self, *_: Any) -> AsyncIterator[Words]:
        raise ModelError("model_error", "It broke.")
        yield

    async def speak(self, *_: Any) -> AsyncIterator[Sound]:
        raise ModelError("model_error", "It broke.")
        yield


def in_order(role: Any, *parts: Any) -> Order[Any]:
    return Order(role, [Seat(f"b{number}", part, 30.0) for number, part in enumerate(parts)], lambda: 0.0)


class TestOrderedEar(SpeechToTextConformance):
    def make(self) -> OrderedEar:
        return OrderedEar(in_order("stt", Failing(), ScriptedEar()))

    def make_failing(self) -> OrderedEar:
        return OrderedEar(in_order("stt", Failing(), Failing()))


class TestOrderedMind(LanguageModelConformance):
    calls_tools = True

    def make(self) -> OrderedMind:
        return OrderedMind(in_order("llm", Failing(), DemoBrain()))

    def make_failing(self) -> OrderedMind:
        return OrderedMind(in_order("llm", Failing(), Failing()))


class TestOrderedVoice(TextToSpeechConformance):
    def make(self) -> OrderedVoice:
        return OrderedVoice(in_order("tts", Failing(), ScriptedVoice()))

    def make_failing(self) -> OrderedVoice:
        return OrderedVoice(in_order("tts", Failing(), Failing()))


def chat_reply(body: dict[str, Any]) -> Reply:
    if body.get("tool_choice") == "required":
        call = {"index": 0, "id": "c1", "function": {"name": "get_opening_hours", "arguments": '{"day": "Monday"}'}}
        delta: dict[str, Any] = {"tool_calls": [call]}
    else:
        delta = {"content": "At nine."}
    chunks = [
        {"choices": [{"index": 0, "delta": delta}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
    ]
    return Reply([f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"])


Make = Callable[[ModelServer], Any]


@contextlib.asynccontextmanager
async def served(answer: Callable[[Any], Reply], make: Make) -> AsyncIterator[Any]:
    async with serve(answer) as host:
        yield make(ModelServer("server", host.url, None, 20.0))


def refused(_: Any) -> Reply:
    return Reply([b'{"error": {"message": "out of memory"}}'], status=500, content_type="application/json")


class TestChatCompletions(LanguageModelConformance):
    calls_tools = True

    def make(self) -> Any:
        return served(lambda got: chat_reply(got.json), self._chat)

    def make_failing(self) -> Any:
        return served(refused, self._chat)

    def _chat(self, server: ModelServer) -> ChatCompletions:
        return ChatCompletions(server, ChatOptions("m"))


class TestTranscriptions(SpeechToTextConformance):
    heard = "at nine"

    def make(self) -> Any:
        return served(lambda _: Reply([b'{"text": "At nine."}'], content_type="application/json"), self._ear)

    def make_failing(self) -> Any:
        return served(refused, self._ear)

    def _ear(self, server: ModelServer) -> Transcriptions:
        return Transcriptions(server, "whisper-1")


class TestSpokenOverHttp(TextToSpeechConformance):
    def make(self) -> Any:
        return served(lambda _: Reply([bytes(9601), bytes(9599)], content_type="audio/pcm"), self._voice)

    def make_failing(self) -> Any:
        return served(refused, self._voice)

    def _voice(self, server: ModelServer) -> SpokenOverHttp:
        return SpokenOverHttp(server, "tts-1", None, 24000)


@pytest.mark.skipif(not is_installed("tiny.en"), reason="local speech is not installed: offhook[local]")
class TestLocalEar(SpeechToTextConformance):
    long_s = 16.0
    heard = "please come in"

    @pytest.fixture(autouse=True)
    def _recorded(self) -> None:
        if assets.is_installed():
            self.speech = Speech(to_bytes(said("We open at nine. Please come in.")), 8000)  # type: ignore[misc]
        else:
            self.heard = ""  # type: ignore[misc]

    def make(self) -> Any:
        return local_ear(EarOptions(workers=1))


@pytest.mark.skipif(not assets.is_installed(), reason="local speech is not installed: offhook[local]")
class TestLocalVoice(TextToSpeechConformance):
    long_sentences = 5

    def make(self) -> Any:
        return local_voice(VoiceOptions())


# -- broken ones


class Ear:
    name = "ear"

    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        yield Words("At nine.")


class DeafEar(Ear):
    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        yield Words(" ")


class WithRecording(SpeechToTextConformance):
    speech = Speech(bytes(16000), 8000)


class NamelessEar(Ear):
    name = ""


class EarOfStrings(Ear):
    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        yield "At nine."  # type: ignore[misc]


class EarThatRaisesOnSilence(Ear):
    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        if not speech.pcm:
            raise ValueError("no audio")
        yield Words("At nine.")


class EarThatLeavesTasks(Ear):
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        self.tasks.append(asyncio.create_task(asyncio.sleep(3600)))
        yield Words("At nine.")


class EarThatServesOneAtATime(Ear):
    busy = False

    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        if self.busy:
            raise ModelError("busy", "One at a time.")
        self.busy = True
        await asyncio.sleep(0)
        yield Words("At nine.")
        self.busy = False


class EarThatCannotBeStopped(Ear):
    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        while True:
            try:
                await asyncio.sleep(0.01)
                break
            except asyncio.CancelledError:
                await asyncio.sleep(3600)
        yield Words("At nine.")


class EarThatNeverEnds(Ear):
    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        yield Words("At nine.")
        if speech.seconds > 30:
            await asyncio.sleep(3600)


class EarThatFailsWithoutWords(Ear):
    async def transcribe(self, speech: Speech, wanted: Any) -> AsyncIterator[Words]:
        raise ModelError("broken", "")
        yield


class _BrokenHearing:
    def hasten(self) -> None: ...

    def cancel(self) -> None:
        raise RuntimeError("cancelled twice")

    async def words(self) -> AsyncIterator[Words]:
        yield Words("At nine.")


class EarWithABrokenGuess(Ear):
    def hear_early(self, *_: Any) -> _BrokenHearing:
        return _BrokenHearing()


class Mind:
    """Yields what it is told to, with the run of the request."""

    name = "mind"
    outputs: tuple[Callable[[int], Any], ...] = ()

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        for output in self.outputs:
            yield output(request.run)


def mind(*outputs: Callable[[int], Any]) -> Callable[[], Mind]:
    return type("Broken", (Mind,), {"outputs": outputs})


def word(run: int) -> TextProduced:
    return TextProduced(run, "At nine.")


def call(run: int, index: int = 0) -> ToolCallStarted:
    return ToolCallStarted(run, index, "get_opening_hours")


def end(run: int) -> GenerationFinished:
    return GenerationFinished(run)


class Voice:
    name = "voice"
    sounds: tuple[Any, ...] = ()

    async def speak(self, text: str, voice: Any, speed: float) -> AsyncIterator[Sound]:
        for sound in self.sounds:
            yield sound


def voice(*sounds: Any) -> Callable[[], Voice]:
    return type("Broken", (Voice,), {"sounds": sounds})


class DeafBackend(ScriptedBackend):
    capabilities: Any

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = {"needs_transcripts": True}


class TalkativeBackend(ScriptedBackend):
    def __init__(self) -> None:
        super().__init__()
        self.capabilities = Capabilities(needs_transcripts=False)

    async def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        yield TextProduced(request.run, "At nine.")
        yield AudioProduced(request.run, bytes(1600), 8000, 100.0)
        yield GenerationFinished(request.run)


class MuteBackend(ScriptedBackend):
    async def say(self, *_: Any) -> AsyncIterator[Sound]:  # type: ignore[override]
        return
        yield


SIDE_BY_SIDE = "test_requests_side_by_side_do_not_disturb_each_other"
ANSWERED = "test_a_request_is_answered_as_the_protocol_says"


@pytest.mark.parametrize(
    ("conformance", "make", "test", "says"),
    [
        (SpeechToTextConformance, NamelessEar, "test_it_has_a_name", "its name is ''"),
        (SpeechToTextConformance, EarOfStrings, ANSWERED, "'At nine.' is not Words"),
        (SpeechToTextConformance, EarThatRaisesOnSilence, "test_nothing_and_silence_can_be_heard", "raised ValueError"),
        (SpeechToTextConformance, EarThatLeavesTasks, ANSWERED, "1 task.s. are left of it after its stop"),
        (
            SpeechToTextConformance,
            EarThatServesOneAtATime,
            "test_requests_side_by_side_do_not_disturb_each_other",
            "One at",
        ),
        (SpeechToTextConformance, EarThatServesOneAtATime, "test_whoever_stops_listening_stops_the_work", "One at"),
        (SpeechToTextConformance, EarThatCannotBeStopped, "test_a_request_can_be_cancelled_at_any_point", "goes on"),
        (SpeechToTextConformance, EarThatNeverEnds, "test_a_long_turn_can_be_heard", "did not come to an end within"),
        (SpeechToTextConformance, Ear, "test_a_failure_is_told_as_model_error", "it did not fail"),
        (SpeechToTextConformance, EarThatFailsWithoutWords, "test_a_failure_is_told_as_model_error", "without a mess"),
        (
            SpeechToTextConformance,
            EarWithABrokenGuess,
            "test_what_is_heard_early_can_be_used_dropped_and_dropped_again",
            "cancelled twice",
        ),
        (WithRecording, DeafEar, "test_speech_becomes_words", "it heard no words"),
        (LanguageModelConformance, mind(end), ANSWERED, "it answered nothing"),
        (LanguageModelConformance, mind(WordsFinished, end), ANSWERED, "it answered nothing"),
        (LanguageModelConformance, mind(word), ANSWERED, "no GenerationFinished at the end"),
        (LanguageModelConformance, mind(word, end, word, end), ANSWERED, "something comes after GenerationFinished"),
        (LanguageModelConformance, mind(lambda _: word(1), end), ANSWERED, "does not carry run 7"),
        (LanguageModelConformance, mind(lambda run: TextProduced(run, ""), end), ANSWERED, "without text"),
        (LanguageModelConformance, mind(lambda _: "At nine."), ANSWERED, "is no output of a model"),
        (LanguageModelConformance, mind(call, call, end), ANSWERED, "begins twice"),
        (
            LanguageModelConformance,
            mind(call, lambda run: call(run, 1), lambda run: ToolArgumentsProduced(run, 0, "{}"), end),
            ANSWERED,
            "not the one that is under way",
        ),
        (LanguageModelConformance, mind(lambda run: ToolArgumentsProduced(run, 0, "{}"), end), ANSWERED, "under way"),
        (
            LanguageModelConformance,
            mind(call, lambda run: ToolArgumentsProduced(run, 0, '{"day": '), end),
            ANSWERED,
            "are not JSON",
        ),
        (LanguageModelConformance, mind(WordsFinished, word, end), ANSWERED, "after WordsFinished"),
        (LanguageModelConformance, mind(call, end), "test_functions_are_called_one_after_the_other", "is none"),
        (TextToSpeechConformance, voice(), ANSWERED, "it said nothing"),
        (TextToSpeechConformance, voice(b"\0\0"), ANSWERED, "is not Sound"),
        (TextToSpeechConformance, voice(Sound(bytes(801), 8000)), ANSWERED, "no whole samples"),
        (TextToSpeechConformance, voice(Sound(bytes(800), 7999)), ANSWERED, "cannot be played"),
        (TextToSpeechConformance, voice(Sound(b"", 8000, "We")), ANSWERED, "without samples"),
        (TextToSpeechConformance, voice(Sound(bytes(800), 8000, "We open")), ANSWERED, "the words 'We open' are told"),
        (
            TextToSpeechConformance,
            voice(Sound(bytes(800), 8000), Sound(bytes(800), 8000, "We")),
            ANSWERED,
            "not from the first piece on",
        ),
        (BackendConformance, DeafBackend, "test_it_says_what_it_is_and_how_it_does", "is not Capabilities"),
        (BackendConformance, TalkativeBackend, "test_a_written_answer_has_no_sound", "heard all the same"),
        (BackendConformance, MuteBackend, "test_given_words_are_spoken_and_speech_becomes_words", "it said nothing"),
    ],
)
def test_a_backend_that_breaks_a_promise_is_found_out(
    monkeypatch: pytest.MonkeyPatch, conformance: Any, make: Callable[[], Any], test: str, says: str
) -> None:
    if "goes on" in says:
        monkeypatch.setattr("offhook.testing.conforming.ENDING_S", 0.3)
    patience_s = 0.5 if "come to an end" in says else 30.0
    members = {"make": lambda _: make(), "make_failing": lambda _: make(), "patience_s": patience_s}
    broken = type("Broken", (conformance,), members)()
    with pytest.raises((AssertionError, ModelError, RuntimeError), match=says):
        getattr(broken, test)()


def test_whether_an_ear_hears_words_is_not_judged_without_a_recording() -> None:
    members = {"make": lambda _: DeafEar()}
    with pytest.raises(pytest.skip.Exception, match="speech is None"):
        type("Deaf", (SpeechToTextConformance,), members)().test_speech_becomes_words()


def test_a_backend_that_refuses_to_start_is_told() -> None:
    class Refusing(Ear):
        async def start(self) -> None:
            raise ConfigError("backends.x", "is not there")

    members = {"make": lambda _: Refusing()}
    with pytest.raises(ConfigError):
        type("Broken", (SpeechToTextConformance,), members)().test_it_has_a_name()
