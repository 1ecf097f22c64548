"""An endpoint that does not speak: the answer is finished by another voice, and it is said once in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.core.test_demo_brain import caller, request

from offhook.errors import ConfigError
from offhook.model import reserve
from offhook.model.cascade import Cascade
from offhook.model.interface import ModelError, ModelOutput, Sound
from offhook.model.reserve import REST_S, ReservedVoice
from offhook.model.scripted import ScriptedEar
from offhook.session.inputs import AudioProduced, GenerationFinished, TextProduced
from offhook.session.outputs import Generate
from offhook.wire.session import Voice

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


def voices(endpoint: Endpoint, local: Local | None = None) -> tuple[ReservedVoice, Clock]:
    clock = Clock()
    voice = ReservedVoice(endpoint, local or Local(), clock)
    asyncio.run(voice.start())
    return voice, clock


def answer(voice: ReservedVoice) -> list[tuple[str, str]]:
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
    assert voice.report() == {"reserve": "local voice", "stood_in": 1, "resting": True}


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
    clock.now = 3 * REST_S
    endpoint.pieces = 100
    assert {who for who, _ in answer(voice)} == {"endpoint"}
    assert "speaks again" in caplog.messages[-1]


def test_nobody_waits_long_for_an_endpoint_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "FIRST_SOUND_S", 0.01)
    voice, _ = voices(Endpoint(0, "hang"))
    assert {who for who, _ in answer(voice)} == {"local"}


def test_without_a_local_voice_the_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    voice, _ = voices(Endpoint(0, "fail"), Local(missing=True))
    assert "no local voice stands in" in caplog.text
    with pytest.raises(ModelError, match="answered 500"):
        answer(voice)
