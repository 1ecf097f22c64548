"""A model that costs nothing and says what it was told to: for measuring the server, and for tests.

It answers every turn at once. Answer *n* of a call is numbered tone *n*, so that a recording shows which answer was
heard, from when to when.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from offhook.audio.pcm import to_bytes
from offhook.audio.tone import TONES, tone
from offhook.model.interface import Capabilities, ModelOutput, Segment, Sound, Speech, Words
from offhook.session.inputs import (
    AudioProduced,
    GenerationFinished,
    TextProduced,
    ToolArgumentsProduced,
    ToolCallStarted,
)
from offhook.session.outputs import Generate
from offhook.wire.items import FunctionCallOutput
from offhook.wire.models import tells_speakers
from offhook.wire.session import FunctionTool, ToolChoiceFunction, TranscriptionEcho, Voice

SCRIPTED = "scripted"
RATE_HZ = 8000
ANSWER_MS = 2000
# Speech has about 15 letters a second.
MS_PER_LETTER = 65
HEARD = "This is what the scripted recogniser hears."
SPEAKER = "A"


@dataclass(frozen=True, slots=True)
class ScriptedOptions:
    """What the scripted model says: ``answer_ms`` of tone, and ``heard`` for every turn of the caller."""

    answer_ms: int = ANSWER_MS
    heard: str = HEARD


class ScriptedBackend:
    """Answers with numbered tones, and with a function call when one is demanded by ``tool_choice``."""

    def __init__(self, options: ScriptedOptions | None = None) -> None:
        self.name = SCRIPTED
        self.capabilities = Capabilities(needs_transcripts=False, tells_speakers=True)
        self._options = options or ScriptedOptions()

    @property
    def queue_wait_ms(self) -> float:
        """Nothing: it answers at once."""
        return 0.0

    def report(self) -> dict[str, Any]:
        """Its name is all there is to say."""
        return {"name": self.name}

    async def start(self) -> None:
        """Make the tones, so that no call pays for them."""
        for number in range(TONES):
            _tone_bytes(number, self._options.answer_ms)

    async def stop(self) -> None:
        """Nothing is held."""

    async def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Yield answer number ``run`` of the call."""
        run = request.run
        function = _demanded_function(request)
        if function is not None:
            yield ToolCallStarted(run, 0, function.name)
            yield ToolArgumentsProduced(run, 0, "{}")
            yield GenerationFinished(run)
            return
        number = run % TONES
        text = f"Scripted answer number {number}."
        yield TextProduced(run, text)
        if request.modality == "audio":
            pcm = _tone_bytes(number, self._options.answer_ms)
            yield AudioProduced(run, pcm, RATE_HZ, float(self._options.answer_ms), text)
        yield GenerationFinished(run)

    def say(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Say the words as a tone of their length."""
        return ScriptedVoice().speak(text, voice, speed)

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the one transcript there is, and where that is asked for that one speaker said all of it."""
        yield _heard(self._options.heard, speech, wanted)

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> None:
        """Never: there is nothing to gain."""


class ScriptedEar:
    """Hears one and the same whatever is said: the ear of a cascade under test."""

    name = SCRIPTED
    tells_speakers = True

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Yield the one transcript there is, as the scripted model does."""
        yield _heard(HEARD, speech, wanted)


class ScriptedVoice:
    """Says every sentence as a tone of its length: the voice of a cascade under test."""

    name = SCRIPTED

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Yield a tone that lasts as long as the text would."""
        del voice
        duration_ms = max(int(len(text) * MS_PER_LETTER / speed), 100)
        yield Sound(_tone_bytes(len(text) % TONES, duration_ms), RATE_HZ, text)


def _heard(text: str, speech: Speech, wanted: TranscriptionEcho | None) -> Words:
    if wanted is None or not tells_speakers(wanted.model):
        return Words(text)
    return Words(text, segments=(Segment(text, SPEAKER, 0.0, speech.seconds),))


@lru_cache(maxsize=4 * TONES)
def _tone_bytes(number: int, duration_ms: int) -> bytes:
    return to_bytes(tone(number, duration_ms, RATE_HZ))


def _demanded_function(request: Generate) -> FunctionTool | None:
    """Return the function that has to be called; one whose output is the last item is not called again."""
    functions = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    if not functions or (request.items and isinstance(request.items[-1], FunctionCallOutput)):
        return None
    match request.tool_choice:
        case "required":
            return functions[0]
        case ToolChoiceFunction(name=name):
            return next((each for each in functions if each.name == name), None)
        case _:
            return None
