"""Conformance classes for authors of backends: what the protocols of `offhook.model.interface` promise, as tests.

::

    class TestMyVoice(TextToSpeechConformance):
        def make(self) -> TextToSpeech:
            return MyVoice()

pytest runs them; no plugin is needed. Members of a class can be changed to suit a backend: what is spoken or heard,
how long one request may take, how a failing one is made.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, ClassVar, Final

from offhook.audio.pcm import to_bytes
from offhook.audio.resample import RATES_HZ, is_convertible
from offhook.model.interface import (
    Backend,
    Capabilities,
    HearsSoFar,
    LanguageModel,
    ModelOutput,
    Segment,
    Sound,
    Speech,
    SpeechToText,
    TextToSpeech,
    Words,
)
from offhook.session.inputs import (
    AudioProduced,
    GenerationFinished,
    TextProduced,
    ToolArgumentsProduced,
    ToolCallStarted,
    WordsFinished,
)
from offhook.session.outputs import Generate
from offhook.testing.conforming import Conformance, require
from offhook.testing.speech import plain_words
from offhook.testing.voice import voice as sound_of_speech
from offhook.wire.items import InputText, Item, LogProb, Message, OutputText
from offhook.wire.server_events import Usage
from offhook.wire.session import CustomVoice, FunctionTool, TranscriptionEcho, Voice

TOOL: Final = FunctionTool(
    name="get_opening_hours",
    description="Returns when the clinic is open on a weekday.",
    parameters={"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
)
_SENTENCE: Final = "We open at nine. Please come in by the side door."


def request(*items: Item, **changes: Any) -> Generate:
    """Return a request for an answer, in writing unless ``modality`` says otherwise."""
    members: dict[str, Any] = {
        "run": 7,
        "response_id": "resp_conformance",
        "instructions": "You are the receptionist of a clinic. Be brief.",
        "directed": False,
        "items": items,
        "tools": (),
        "tool_choice": "auto",
        "max_output_tokens": 64,
        "modality": "text",
        "voice": "marin",
        "speed": 1.0,
        "model": "gpt-realtime",
    }
    return Generate(**(members | changes))


def said_by_caller(text: str) -> Message:
    """Return a turn of the caller, in writing."""
    return Message(id="item_caller", role="user", content=(InputText(text=text),))


@lru_cache(maxsize=8)
def _spoken(seconds: float, rate_hz: int = 8000) -> Speech:
    """Return something like speech."""
    samples = sound_of_speech(int(seconds * 1000 * rate_hz / 8000))
    return Speech(to_bytes(samples), rate_hz)


class SpeechToTextConformance(Conformance[SpeechToText]):
    """Subclass it with ``make``; ``speech`` and ``heard`` may be a recording and words that are understood in it."""

    speech: ClassVar[Speech | None] = None
    heard: ClassVar[str] = ""
    long_s: ClassVar[float] = 60.0

    def ask(self, part: SpeechToText) -> AsyncIterator[Words]:
        """Let it hear ``speech``."""
        return part.transcribe(self.speech or _spoken(1.5), TranscriptionEcho(model="whisper-1", language="en"))

    def judge(self, outputs: list[Any]) -> None:
        """Words, which hold what was said; where ``speech`` is no recording there may be none."""
        judge_words(outputs)
        text = plain_words("".join(words.text for words in outputs))
        require(text or self.speech is None, "it heard no words in the speech")
        missing = [word for word in plain_words(self.heard) if word not in text]
        require(not missing, f"it heard {' '.join(text)!r}, without {missing}")

    def test_speech_becomes_words(self) -> None:
        """Nobody has to understand the sound that is made here; a recording of words is another matter."""
        if self.speech is None:
            import pytest

            pytest.skip("speech is None: whether it hears anything is seen with a recording")
        self._hears()

    def _hears(self, *speech: Speech, wanted: TranscriptionEcho | None = None) -> None:
        async def test(part: SpeechToText) -> None:
            for each in speech:
                words = await self._collect_or_refusal(part.transcribe(each, wanted))
                judge_words(words or [])
            self.judge(await self._collect(self.ask(part)))

        self._run(test)

    def test_nothing_and_silence_can_be_heard(self) -> None:
        """No words, or a refusal; the next turn is heard."""
        self._hears(Speech(b"", 8000), Speech(bytes(2), 8000), Speech(bytes(16000), 8000))

    def test_speech_comes_at_any_rate(self) -> None:
        """Of a telephone, of a socket, of a studio."""
        self._hears(*(_spoken(1.0, rate_hz) for rate_hz in (8000, 16000, 24000, 48000)))

    def test_a_long_turn_can_be_heard(self) -> None:
        """Words, or a refusal, in bounded time."""
        self._hears(_spoken(self.long_s))

    def test_what_is_known_about_the_speech_is_a_hint(self) -> None:
        """A language that nobody speaks is refused or ignored, and so are other hints."""
        odd = TranscriptionEcho(model="x", language="tlh", prompt="Clinic.", keywords=("clinic",), languages=("tlh",))
        self._hears(_spoken(1.0), wanted=odd)

    def test_what_is_heard_early_can_be_used_dropped_and_dropped_again(self) -> None:
        """Where ``hear_early`` or ``hear_so_far`` is offered."""

        async def test(part: SpeechToText) -> None:
            speech, wanted = self.speech or _spoken(1.5), TranscriptionEcho(model="whisper-1", language="en")
            begin = [getattr(part, "hear_early", None), part.hear_so_far if isinstance(part, HearsSoFar) else None]
            for hear in filter(None, begin):
                dropped = hear(speech, wanted)
                if dropped is not None:
                    dropped.cancel()
                    dropped.cancel()
                hearing = hear(speech, wanted)
                if hearing is not None:
                    hearing.hasten()
                    judge_words(await self._collect_or_refusal(hearing.words()) or [])
                    hearing.cancel()
            self.judge(await self._collect(self.ask(part)))

        self._run(test)


def judge_words(outputs: list[Any]) -> None:
    """Raise AssertionError where these are not the words of a transcript."""
    for words in outputs:
        require(isinstance(words, Words), f"{words!r} is not Words")
        require(isinstance(words.text, str) and isinstance(words.language, str), f"{words!r} has no text")
        require(all(isinstance(each, LogProb) for each in words.logprobs), f"{words!r} has odd log-probabilities")
        require(all(isinstance(each, Segment) for each in words.segments), f"{words!r} has odd segments")


class LanguageModelConformance(Conformance[LanguageModel]):
    """Subclass it with ``make``. ``calls_tools``: it calls a function that it is made to call."""

    question: ClassVar[str] = "When do you open on Monday?"
    calls_tools: ClassVar[bool] = False
    long_turns: ClassVar[int] = 100

    def ask(self, part: LanguageModel) -> AsyncIterator[ModelOutput]:
        """Ask it a question."""
        return part.generate(request(said_by_caller(self.question)))

    def judge(self, outputs: list[Any]) -> None:
        """Words, function calls one after the other, and one end."""
        judge_outputs(outputs, 7)
        require(any(isinstance(output, TextProduced | ToolCallStarted) for output in outputs), "it answered nothing")

    def _answers(self, *asked: Generate) -> None:
        async def test(part: LanguageModel) -> None:
            for each in asked:
                outputs = await self._collect_or_refusal(part.generate(each))
                if outputs is not None:
                    judge_outputs(outputs, each.run)
            self.judge(await self._collect(self.ask(part)))

        self._run(test)

    def test_a_conversation_may_be_empty(self) -> None:
        """The agent speaks first; there may be no instructions either."""
        self._answers(request(), request(instructions=""), request(said_by_caller("")))

    def test_a_conversation_may_be_long(self) -> None:
        """An answer, or a refusal, in bounded time."""
        turns: list[Item] = []
        for number in range(self.long_turns):
            turns.append(said_by_caller(f"And what about room number {number} on the second floor?"))
            turns.append(Message(role="assistant", content=(OutputText(text=f"Room {number} is free."),)))
        self._answers(request(*turns, said_by_caller("Thanks.")))

    def test_every_output_carries_the_run_of_its_request(self) -> None:
        """Answers side by side are told apart by it."""

        async def test(part: LanguageModel) -> None:
            asked = [request(said_by_caller(self.question), run=run) for run in (1, 2, 3)]
            answers = await asyncio.gather(*(self._collect(part.generate(each)) for each in asked))
            for each, outputs in zip(asked, answers, strict=True):
                judge_outputs(outputs, each.run)

        self._run(test)

    def test_functions_are_called_one_after_the_other(self) -> None:
        """With arguments that are JSON; and not at all where ``tool_choice`` forbids it."""

        async def test(part: LanguageModel) -> None:
            caller = said_by_caller(self.question)
            outputs = await self._collect(part.generate(request(caller, tools=(TOOL,), tool_choice="required")))
            judge_outputs(outputs, 7)
            called = any(isinstance(output, ToolCallStarted) for output in outputs)
            require(called or not self.calls_tools, "it called no function although it had to")
            outputs = await self._collect(part.generate(request(caller, tools=(TOOL,), tool_choice="none")))
            judge_outputs(outputs, 7)
            called = any(isinstance(output, ToolCallStarted) for output in outputs)
            require(not called, "it called a function although tool_choice is none")

        self._run(test)


def judge_outputs(outputs: list[Any], run: int) -> None:
    """Raise AssertionError where these are not the outputs of one answer, in their order."""
    kinds = (TextProduced, AudioProduced, ToolCallStarted, ToolArgumentsProduced, WordsFinished, GenerationFinished)
    calls: dict[int, list[str]] = {}
    are_words_finished = False
    for output in outputs:
        require(isinstance(output, kinds), f"{output!r} is no output of a model")
        require(output.run == run, f"{output!r} does not carry run {run}")
        if isinstance(output, TextProduced | ToolCallStarted | ToolArgumentsProduced):
            require(not are_words_finished, f"{type(output).__name__} comes after WordsFinished")
        match output:
            case TextProduced(text=text):
                require(text, "TextProduced without text")
            case AudioProduced():
                judge_sound(output.pcm, output.rate_hz)
                exact_ms = len(output.pcm) / 2 * 1000 / output.rate_hz
                require(abs(output.duration_ms - exact_ms) < 1, f"{exact_ms:g} ms are told as {output.duration_ms:g}")
            case ToolCallStarted(index=index, name=name):
                require(name, "a function call without a name")
                require(index not in calls, f"function call {index} begins twice")
                calls[index] = []
            case ToolArgumentsProduced(index=index, delta=delta):
                newest = bool(calls) and index == list(calls)[-1]
                require(newest, f"arguments of function call {index}, which is not the one that is under way")
                calls[index].append(delta)
            case WordsFinished():
                are_words_finished = True
            case GenerationFinished(usage=usage):
                require(usage is None or isinstance(usage, Usage), f"{usage!r} is no Usage")
                require(output is outputs[-1], "something comes after GenerationFinished")
            case _:
                pass
    require(outputs and isinstance(outputs[-1], GenerationFinished), "no GenerationFinished at the end")
    if outputs[-1].reason == "stop":
        for arguments in filter(None, map("".join, calls.values())):
            require(_is_json(arguments), f"the arguments {arguments!r} are not JSON")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class TextToSpeechConformance(Conformance[TextToSpeech]):
    """Subclass it with ``make``. ``text`` and ``voice`` are what it is asked to speak."""

    text: ClassVar[str] = _SENTENCE
    voice: ClassVar[Voice] = "marin"
    long_sentences: ClassVar[int] = 20

    def ask(self, part: TextToSpeech) -> AsyncIterator[Sound]:
        """Let it speak."""
        return part.speak(self.text, self.voice, 1.0)

    def judge(self, outputs: list[Any]) -> None:
        """Sound, with all of its words or with none."""
        judge_sounds(outputs, self.text)
        require(outputs, "it said nothing")

    def _speaks(self, *asked: tuple[str, Voice, float]) -> None:
        async def test(part: TextToSpeech) -> None:
            for text, voice, speed in asked:
                sounds = await self._collect_or_refusal(part.speak(text, voice, speed))
                judge_sounds(sounds or [], text)
            self.judge(await self._collect(self.ask(part)))

        self._run(test)

    def test_nothing_can_be_said(self) -> None:
        """What cannot be spoken makes no sound, or is refused."""
        self._speaks(
            *((text, self.voice, 1.0) for text in ("", " ", ".", "\N{PARTY POPPER}", "\N{CJK RADICAL EAT ONE}"))
        )

    def test_a_long_text_can_be_said(self) -> None:
        """All of it, or a refusal, in bounded time."""
        self._speaks((" ".join([self.text] * self.long_sentences), self.voice, 1.0))

    def test_any_speed_and_any_voice_can_be_asked_for(self) -> None:
        """The limits of the API, and names that this voice has never heard of."""
        asked: list[tuple[str, Voice, float]] = [(self.text, self.voice, speed) for speed in (0.25, 1.5)]
        self._speaks(*asked, (self.text, "no-such-voice", 1.0), (self.text, CustomVoice(id="voice_none"), 1.0))


def judge_sound(pcm: Any, rate_hz: Any) -> None:
    """Raise AssertionError for what cannot be played."""
    require(isinstance(pcm, bytes), f"{type(pcm).__name__} is not bytes")
    require(len(pcm) % 2 == 0, f"{len(pcm)} bytes are no whole samples of 16 bits")
    require(len(pcm) > 0, "a piece of sound without samples")
    require(is_convertible(rate_hz), f"sound of {rate_hz} Hz cannot be played; the usual rates are {RATES_HZ}")


def judge_sounds(sounds: list[Any], text: str) -> None:
    """Raise AssertionError where these do not speak a text: its words all together, or none of them."""
    for sound in sounds:
        require(isinstance(sound, Sound), f"{sound!r} is not Sound")
        judge_sound(sound.pcm, sound.rate_hz)
    told = "".join(sound.text for sound in sounds)
    if told:
        require(sounds[0].text, "words are told, but not from the first piece on")
        require(told.split() == text.split(), f"the words {told!r} are told for {text!r}")


class BackendConformance(Conformance[Backend]):
    """A whole backend. Subclass it with ``make``."""

    question: ClassVar[str] = "When do you open on Monday?"
    says: ClassVar[str] = _SENTENCE

    def ask(self, part: Backend) -> AsyncIterator[ModelOutput]:
        """Ask it a question, to be answered aloud."""
        return part.respond(request(said_by_caller(self.question), modality="audio"))

    def judge(self, outputs: list[Any]) -> None:
        """An answer that is heard."""
        judge_outputs(outputs, 7)
        sounds = [output for output in outputs if isinstance(output, AudioProduced)]
        require(sounds or any(isinstance(output, ToolCallStarted) for output in outputs), "nothing can be heard of it")

    def test_a_written_answer_has_no_sound(self) -> None:
        """``modality`` says what is wanted."""

        async def test(part: Backend) -> None:
            outputs = await self._collect(part.respond(request(said_by_caller(self.question))))
            judge_outputs(outputs, 7)
            require(not any(isinstance(output, AudioProduced) for output in outputs), "it is heard all the same")

        self._run(test)

    def test_given_words_are_spoken_and_speech_becomes_words(self) -> None:
        """``say`` and ``transcribe``."""

        async def test(part: Backend) -> None:
            sounds = await self._collect(part.say(self.says, "marin", 1.0))
            judge_sounds(sounds, self.says)
            require(sounds, "it said nothing")
            judge_words(await self._collect_or_refusal(part.transcribe(_spoken(1.5), None)) or [])
            judge_words(await self._collect_or_refusal(part.transcribe(Speech(b"", 8000), None)) or [])
            if (hearing := part.hear_early(_spoken(1.5), None)) is not None:
                judge_words(await self._collect_or_refusal(hearing.words()) or [])
                hearing.cancel()
                hearing.cancel()

        self._run(test)

    def test_a_conversation_may_be_empty(self) -> None:
        """The agent speaks first."""

        async def test(part: Backend) -> None:
            outputs = await self._collect_or_refusal(part.respond(request(modality="audio")))
            if outputs is not None:
                judge_outputs(outputs, 7)

        self._run(test)

    def test_it_says_what_it_is_and_how_it_does(self) -> None:
        """``capabilities``, ``report`` and ``queue_wait_ms``."""

        async def test(part: Backend) -> None:
            require(isinstance(part.capabilities, Capabilities), f"{part.capabilities!r} is not Capabilities")
            require(part.queue_wait_ms >= 0, f"queue_wait_ms is {part.queue_wait_ms}")
            report = part.report()
            require(isinstance(report, dict) and report.get("name"), f"{report!r} has no name")
            json.dumps(report)

        self._run(test)
