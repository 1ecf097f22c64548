"""When a part of a cascade fails, the response fails with its reason, and the caller hears a sentence about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.core.test_demo_brain import caller, request

from offhook.model import cascade
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.interface import ModelError, ModelOutput, Sound
from offhook.model.scripted import ScriptedEar, ScriptedVoice
from offhook.session.inputs import AudioProduced, TextProduced
from offhook.session.outputs import Generate
from offhook.wire.session import Voice

SORRY = "Sorry, again please."


class BrokenBrain:
    name = "broken"

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        yield TextProduced(request.run, "We open at nine. And at n")
        await asyncio.sleep(0)
        raise ModelError("model_error", "It broke off.")


class FailingVoice(ScriptedVoice):
    """Fails so many times, then speaks."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        self.times -= 1
        if self.times >= 0:
            raise ModelError("model_worker_died", "text to speech failed.")
        async for sound in super().speak(text, voice, speed):
            yield sound


class SilentVoice(ScriptedVoice):
    async def speak(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        await asyncio.Event().wait()
        yield Sound(b"", 8000)


def respond(backend: Cascade, wanted: Generate) -> tuple[list[str], list[str], str]:
    """Return the words written, the words spoken, and the code of the failure."""
    outputs: list[Any] = []

    async def whole() -> None:
        async for output in backend.respond(wanted):
            outputs.append(output)  # noqa: PERF401 - what came before the failure counts

    with pytest.raises(ModelError) as caught:
        asyncio.run(whole())
    written = [output.text for output in outputs if isinstance(output, TextProduced)]
    return written, [output.text for output in outputs if isinstance(output, AudioProduced)], caught.value.code


def test_a_brain_that_breaks_off_is_apologized_for() -> None:
    backend = Cascade("x", ScriptedEar(), BrokenBrain(), ScriptedVoice(), SORRY)
    written, spoken, code = respond(backend, request(caller("When do you open?")))
    assert "".join(written) == f"We open at nine. And at n {SORRY}"
    assert spoken[-1] == f" {SORRY}"
    assert code == "model_error"


def test_without_an_apology_nothing_is_said() -> None:
    backend = Cascade("x", ScriptedEar(), BrokenBrain(), ScriptedVoice())
    assert respond(backend, request(caller("When do you open?")))[0] == ["We open at nine. And at n"]


def test_a_response_in_writing_is_not_apologized_for() -> None:
    backend = Cascade("x", ScriptedEar(), BrokenBrain(), ScriptedVoice(), SORRY)
    written, spoken, _ = respond(backend, request(caller("When do you open?"), modality="text"))
    assert (written, spoken) == (["We open at nine. And at n"], [])


def test_a_voice_that_comes_back_apologizes_itself() -> None:
    backend = Cascade("x", ScriptedEar(), DemoBrain(), FailingVoice(1), SORRY)
    assert respond(backend, request(caller("Well.")))[1:] == ([f" {SORRY}"], "model_worker_died")


def test_a_voice_that_does_not_come_back_keeps_the_reason_of_the_failure() -> None:
    backend = Cascade("x", ScriptedEar(), DemoBrain(), FailingVoice(9), SORRY)
    assert respond(backend, request(caller("Well.")))[1:] == ([], "model_worker_died")


def test_a_voice_that_is_silent_does_not_keep_the_failure_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "APOLOGY_S", 0.05)
    backend = Cascade("x", ScriptedEar(), BrokenBrain(), SilentVoice(), SORRY)
    assert respond(backend, request(caller("Well.")))[2] == "model_error"


@pytest.mark.parametrize("modality", ["audio", "text"])
def test_a_turn_that_could_not_be_transcribed_is_not_answered_as_if_it_had_been(modality: str) -> None:
    backend = Cascade("x", ScriptedEar(), DemoBrain(), ScriptedVoice(), SORRY)
    _, spoken, code = respond(backend, request(caller("Before."), caller(None), modality=modality))
    assert code == "not_understood"
    assert spoken == ([SORRY] if modality == "audio" else [])


def test_whoever_says_what_to_do_about_it_is_obeyed() -> None:
    backend = Cascade("x", ScriptedEar(), DemoBrain(), ScriptedVoice(), SORRY)

    async def whole() -> list[Any]:
        wanted = request(caller(None), directed=True, instructions='Say "Please type it."')
        return [output async for output in backend.respond(wanted)]

    assert asyncio.run(whole())[0] == TextProduced(3, "Please type it.")
