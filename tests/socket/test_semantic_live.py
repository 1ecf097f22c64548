"""semantic_vad on a whole server: real sound, a recogniser that knows the words in the pause."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from tests.socket.live import Live, Socket, run_jumping

from offhook import server as wiring
from offhook.audio.pcm import Samples, silence
from offhook.audio.tone import find_tones
from offhook.media.ducking import DUCKED_DB
from offhook.model.cascade import Cascade
from offhook.model.interface import ModelError, ModelOutput, Speech, Words
from offhook.model.scripted import ScriptedVoice
from offhook.session.inputs import GenerationFinished, TextProduced
from offhook.session.outputs import Generate
from offhook.testing.voice import voice
from offhook.wire.session import TranscriptionEcho

SEMANTIC = {"audio": {"input": {"transcription": {"model": "whisper-1"}, "turn_detection": {"type": "semantic_vad"}}}}
STORY = "Once upon a time there was a telephone that nobody answered, and so it rang and rang and rang all day."
COMPLETED = "conversation.item.input_audio_transcription.completed"


class Guess:
    def __init__(self, text: str | None) -> None:
        self.text = text

    def hasten(self) -> None:
        pass

    def cancel(self) -> None:
        pass

    async def words(self) -> AsyncIterator[Words]:
        if self.text is None:
            raise ModelError("overloaded", "Others were more urgent.")
        yield Words(self.text)


class Ear:
    """Understands the next of these texts in every pause; None is too busy to."""

    name = "scripted"

    def __init__(self, *texts: str | None) -> None:
        self.texts = list(texts)

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> Guess:
        return Guess(self.texts.pop(0) if len(self.texts) > 1 else self.texts[0])

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        yield Words("Heard late.")


class Storyteller:
    name = "storyteller"

    async def generate(self, request: Generate) -> AsyncIterator[ModelOutput]:
        yield TextProduced(request.run, STORY)
        yield GenerationFinished(request.run)


def talk(ear: Ear, test: Any, **flags: Any) -> None:
    """Run a test on a call to a server with this ear, and a model that tells a story."""

    async def whole(one: Live) -> None:
        call, call_id = await one.talk(SEMANTIC)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await test(call, Socket(connection))

    run_jumping(whole, backend=Cascade("x", ear, Storyteller(), ScriptedVoice()), **flags)


def silence_before_the_end_ms(ear: Ear, **flags: Any) -> int:
    """Return how long a caller was silent when the turn ended."""
    silences: list[int] = []

    async def test(call: Any, socket: Socket) -> None:
        await call.say(np.concatenate([silence(500 * 8), voice(900)]))
        events = await socket.until("input_audio_buffer.speech_stopped")
        started = next(event for event in events if event["type"] == "input_audio_buffer.speech_started")
        silences.append(events[-1]["audio_end_ms"] - started["audio_start_ms"] - 300 - 900)
        assert (await socket.until(COMPLETED))[-1]["transcript"] == (ear.texts[0] or "Heard late.")
        await socket.until("response.done")

    talk(ear, test, **flags)
    return silences[0]


def test_a_turn_ends_sooner_after_a_whole_sentence_than_after_half_of_one() -> None:
    whole = silence_before_the_end_ms(Ear("I would like a table for two."))
    unheard = silence_before_the_end_ms(Ear(None))
    cut = silence_before_the_end_ms(Ear("I would like a table for"))
    assert 200 <= whole < unheard < cut
    assert unheard >= 650
    assert cut >= 1550


def volume(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def test_ok_does_not_interrupt_an_agent_who_only_speaks_softer_meanwhile() -> None:
    """Complaints 32 and 33: a nod cut the agent's story; it is heard to its end, without a gap."""

    async def test(call: Any, socket: Socket) -> None:
        await socket.connection.response.create()
        await call.hears_sound()
        await call.say(voice(400))
        events = await socket.until(COMPLETED)
        assert events[-1]["transcript"] == "Okay."
        events += await socket.until("output_audio_buffer.stopped")
        kinds = [event["type"] for event in events]
        assert kinds.count("response.created") == 1
        assert "output_audio_buffer.cleared" not in kinds
        (heard,) = find_tones(call.heard)
        assert heard.longest_gap_ms == 0
        assert heard.end_ms - heard.start_ms == pytest.approx(len(STORY) * 65, abs=200)
        story = call.heard[(heard.start_ms + 50) * 8 : (heard.end_ms - 50) * 8]
        volumes = [volume(story[start : start + 800]) for start in range(0, len(story) - 800, 800)]
        assert max(volumes) - min(volumes) == pytest.approx(DUCKED_DB, abs=1)
        assert volumes[-1] == pytest.approx(max(volumes), abs=1), "and is as loud as before when that is over"

    talk(Ear("Okay."), test)


def test_more_than_a_nod_interrupts_the_agent_in_mid_word() -> None:
    async def test(call: Any, socket: Socket) -> None:
        await socket.connection.response.create()
        await call.hears_sound()
        call.begin_saying(voice(1500))
        events = await socket.until("output_audio_buffer.cleared")
        assert "input_audio_buffer.speech_stopped" not in [event["type"] for event in events]

    talk(Ear("Excuse me, I have a question."), test)


class Doubtful:
    """A detector that hears in every voice that something is to come."""

    name = "doubtful"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def probability(self, samples: Samples, rate_hz: int) -> float:
        self.asked.append((len(samples), rate_hz))
        return 0.1


def test_a_detector_of_sound_has_its_say_beside_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Doubtful()
    monkeypatch.setattr(wiring, "load_turn_end", lambda _: detector)
    doubted = silence_before_the_end_ms(Ear("That is all."), turn_detector="doubtful")
    assert doubted >= 650
    ((length, rate_hz),) = detector.asked
    assert rate_hz == 8000
    assert 0.9 * 8000 < length < 1.6 * 8000
