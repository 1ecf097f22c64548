"""A model that says what a test tells it to, and hears what the caller of the test has said, word for word.

::

    model = ScriptedModel()
    model.greets("Good morning, how can I help?")
    model.hears("appointment", Calls("book", {"day": "Monday"}))
    model.result("book", "You are booked for Monday.")
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias

from offhook.audio.pcm import from_bytes, to_bytes
from offhook.audio.resample import resample
from offhook.model.interface import Capabilities, ModelError, ModelOutput, Sound, Speech, Words
from offhook.session.inputs import (
    AudioProduced,
    GenerationFinished,
    TextProduced,
    ToolArgumentsProduced,
    ToolCallStarted,
)
from offhook.session.outputs import Generate
from offhook.testing.speech import RATE_HZ, Book, Ear, Sentence, plain_words
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputAudio, InputText, Message
from offhook.wire.session import FunctionTool, TranscriptionEcho, Voice

MAX_REQUESTS: Final = 1000
"""Requests that are kept for tests to look at."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The model calls a function of the session. Without such a function the response fails, and says so."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thinks:
    """The model needs a while."""

    ms: int


@dataclass(frozen=True, slots=True)
class Fails:
    """The model fails with this code; the conversation goes on."""

    code: str = "server_error"
    message: str = "The scripted model was told to fail."


Act: TypeAlias = str | Calls | Thinks | Fails | Callable[[str], "str | Calls | Thinks | Fails"]
"""What the model does: a text is said. A function is called with what the caller said, or what a function returned."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """Under which circumstances which acts follow."""

    fits: Callable[[Turn], bool]
    acts: tuple[Act, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a response is asked about.

    ``number`` counts the caller's turns from 1, 0 is before the first. ``heard`` is the caller's last turn,
    ``function`` and ``output`` what has just been returned by which function. ``told`` are the instructions of this
    response alone.
    """

    number: int
    heard: str = ""
    function: str | None = None
    output: str = ""
    told: str = ""


class ScriptedModel:
    """A whole backend that acts by rules. The first rule that fits counts; rules may be added at any time.

    Rules are tried in this order: ``result``, ``told``, ``turn``, ``hears``, ``greets``, ``otherwise``.
    """

    def __init__(self, book: Book | None = None) -> None:
        self.name = "scripted"
        self.capabilities = Capabilities(needs_transcripts=True)
        self.book = book or Book()
        self.requests: deque[Generate] = deque(maxlen=MAX_REQUESTS)
        """What it was asked, as the server asked it: instructions, items, tools."""
        self._rules: dict[str, list[_Rule]] = {
            kind: [] for kind in ("result", "told", "turn", "hears", "greets", "otherwise")
        }

    # -- the script

    def greets(self, *acts: Act) -> Self:
        """Do this when a response is asked for before the caller has said anything."""
        return self._add("greets", lambda turn: turn.number == 0, acts)

    def turn(self, number: int, *acts: Act) -> Self:
        """Do this in answer to the caller's turn of this number, from 1."""
        return self._add("turn", lambda turn: turn.number == number and turn.function is None, acts)

    def hears(self, words: str, *acts: Act) -> Self:
        """Do this when the caller's last turn has these words in this order, whatever their case."""
        wanted = plain_words(words)
        return self._add("hears", lambda turn: turn.function is None and _has(turn.heard, wanted), acts)

    def result(self, function: str, *acts: Act) -> Self:
        """Do this when this function has just returned."""
        return self._add("result", lambda turn: turn.function == function, acts)

    def told(self, words: str, *acts: Act) -> Self:
        """Do this when a response was asked for with instructions of its own that have these words."""
        wanted = plain_words(words)
        return self._add("told", lambda turn: _has(turn.told, wanted), acts)

    def otherwise(self, *acts: Act) -> Self:
        """Do this when nothing else fits; unless told so it says that it has no script for what it heard."""
        return self._add("otherwise", lambda _: True, acts)

    def _add(self, kind: str, fits: Callable[[Turn], bool], acts: tuple[Act, ...]) -> Self:
        self._rules[kind].append(_Rule(fits, acts))
        return self

    def _acts(self, turn: Turn) -> tuple[Act, ...]:
        for rules in self._rules.values():
            for rule in rules:
                if rule.fits(turn):
                    return rule.acts
        if turn.function is not None:
            return (f"I have no script for what {turn.function} returned.",)
        return ("I have no script for this.",) if turn.number else ("Hello.",)

    # -- a backend

    @property
    def queue_wait_ms(self) -> float:
        """Nothing: it answers at once."""
        return 0.0

    def report(self) -> dict[str, Any]:
        """Its name is all there is to say."""
        return {"name": self.name}

    async def start(self) -> None:
        """Nothing has to be loaded."""

    async def stop(self) -> None:
        """Nothing is held."""

    async def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield what the script says. Raises ModelError where it says so, or calls a function that is not there."""
        self.requests.append(request)
        run, turn = request.run, _turn_of(request)
        functions = 0
        for act in self._acts(turn):
            done = act(turn.heard if turn.function is None else turn.output) if callable(act) else act
            match done:
                case str():
                    for output in self._speak(request, done):
                        yield output
                case Calls(name=name, arguments=arguments):
                    _check(request, name)
                    yield ToolCallStarted(run, functions, name)
                    yield ToolArgumentsProduced(run, functions, json.dumps(dict(arguments)))
                    functions += 1
                case Thinks(ms=ms):
                    await asyncio.sleep(ms / 1000)
                case Fails(code=code, message=message):
                    raise ModelError(code, message)
        yield GenerationFinished(run)

    def _speak(self, request: Generate, text: str) -> list[ModelOutput]:
        run = request.run
        if request.modality == "text":
            return [TextProduced(run, text)]
        outputs: list[ModelOutput] = []
        for sentence in self.book.speak(text):
            outputs.append(TextProduced(run, sentence.text + " "))
            for sound in _sounds(sentence):
                duration_ms = len(sound.pcm) / 2 * 1000 / RATE_HZ
                outputs.append(AudioProduced(run, sound.pcm, RATE_HZ, duration_ms, sound.text))
        return outputs

    async def say(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield given words, each with its sound."""
        del voice, speed
        for sentence in self.book.speak(text):
            for sound in _sounds(sentence):
                yield sound

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the words that are found in the sound."""
        del wanted
        ear = Ear(self.book)
        samples = resample(from_bytes(speech.pcm), speech.rate_hz, RATE_HZ)
        words = ear.feed(samples[: len(samples) // 8 * 8]) + ear.finish()
        if words:
            yield Words(" ".join(word.text for word in words))

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> None:
        """Never: there is nothing to gain."""


def _sounds(sentence: Sentence) -> list[Sound]:
    """Return the sentence word by word."""
    return [
        Sound(to_bytes(sentence.samples[word.start_ms * 8 : word.end_ms * 8]), RATE_HZ, word.text + " ")
        for word in sentence.words
    ]


def _has(text: str, wanted: list[str]) -> bool:
    words = plain_words(text)
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1))


def _check(request: Generate, name: str) -> None:
    known = [tool.name for tool in request.tools if isinstance(tool, FunctionTool)]
    if name not in known:
        offered = ", ".join(known) or "none"
        raise ModelError("no_such_function", f"The script calls {name}, but the session's functions are: {offered}.")


def _turn_of(request: Generate) -> Turn:
    number, heard = 0, ""
    called = {item.call_id: item.name for item in request.items if isinstance(item, FunctionCall)}
    for item in request.items:
        if isinstance(item, Message) and item.role == "user":
            number += 1
            heard = " ".join(
                part.text if isinstance(part, InputText) else str(part.transcript or "")
                for part in item.content
                if isinstance(part, InputText | InputAudio)
            )
    told = request.instructions if request.directed else ""
    last = request.items[-1] if request.items else None
    if isinstance(last, FunctionCallOutput):
        return Turn(number, heard, called.get(last.call_id, ""), last.output, told)
    return Turn(number, heard, told=told)
