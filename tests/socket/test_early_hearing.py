"""A turn is transcribed in the pause that may be its end, so that its words are there when it is over."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from tests.socket.live import PATIENCE_S, Live, Socket, run_jumping, until
from tests.socket.test_sessions_live import opened

from offhook.audio.pcm import silence, to_bytes
from offhook.audio.resample import resample
from offhook.model.cascade import Cascade
from offhook.model.demo_brain import DemoBrain
from offhook.model.interface import ModelError, Speech, Words
from offhook.model.local import limits
from offhook.model.local.ear import LocalEar
from offhook.model.local.pool import Pool, PoolOptions
from offhook.model.scripted import ScriptedVoice
from offhook.testing.voice import voice
from offhook.wire.session import TranscriptionEcho

HEARS = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


class Early:
    def __init__(self, number: int, speech: Speech, failure: ModelError | None) -> None:
        self.number = number
        self.seconds = speech.seconds
        self.failure = failure
        self.hastened = self.cancelled = False

    def hasten(self) -> None:
        self.hastened = True

    def cancel(self) -> None:
        self.cancelled = True

    async def words(self) -> AsyncIterator[Words]:
        assert self.hastened
        if self.failure is not None:
            raise self.failure
        yield Words(f"Guess {self.number}.")


class Ear:
    """Hears in pauses; ``failure`` is what becomes of its guesses."""

    name = "early"

    def __init__(self, failure: ModelError | None = None) -> None:
        self.failure = failure
        self.guesses: list[Early] = []
        self.asked_late = 0

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> Early | None:
        self.guesses.append(Early(len(self.guesses) + 1, speech, self.failure))
        return self.guesses[-1]

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        self.asked_late += 1
        yield Words("Heard late.")


def hear(ear: Ear, *speech: Any, session: dict[str, Any] | None = None) -> str:
    """Let a caller say something to a server with this ear; return the transcript."""
    transcripts: list[str] = []

    async def test(one: Live) -> None:
        call, call_id = await one.talk(session or HEARS)
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            await call.say(np.concatenate(speech))
            transcripts.append((await Socket(connection).until(COMPLETED))[-1]["transcript"])

    run_jumping(test, backend=Cascade("x", ear, DemoBrain(), ScriptedVoice()))
    return transcripts[0]


def test_the_words_of_a_turn_come_from_the_pause_at_its_end() -> None:
    ear = Ear()
    assert hear(ear, voice(900)) == f"Guess {len(ear.guesses)}."
    assert 0.9 < ear.guesses[-1].seconds < 0.9 + 0.3 + 0.3, "with the prefix, and without the silence of the end"
    assert ear.asked_late == 0


def test_a_pause_that_was_not_the_end_is_forgotten() -> None:
    ear = Ear()
    heard = hear(ear, voice(900), silence(300 * 8), voice(900))
    *others, last = ear.guesses
    assert heard == f"Guess {last.number}."
    assert others
    assert all(other.cancelled and not other.hastened for other in others)
    assert last.seconds - others[0].seconds == pytest.approx(1.2, abs=0.2)
    assert ear.asked_late == 0


def test_a_guess_that_had_to_make_room_is_made_good_at_the_end() -> None:
    ear = Ear(ModelError("overloaded", "Others were more urgent."))
    assert hear(ear, voice(900)) == "Heard late."
    assert ear.asked_late == 1


def test_nothing_is_guessed_where_the_end_comes_too_soon_to_gain_anything() -> None:
    """A turn that ends with its first silence has no pause before it."""
    detection = {"type": "server_vad", "silence_duration_ms": 0}
    session = {"audio": {"input": HEARS["audio"]["input"] | {"turn_detection": detection}}}
    ear = Ear()
    assert hear(ear, voice(900), session=session) == "Heard late."
    assert ear.guesses == []


def test_a_caller_who_hangs_up_in_a_pause_leaves_nothing_behind() -> None:
    ear = Ear()

    async def test(one: Live) -> None:
        detection = {"type": "server_vad", "silence_duration_ms": 5000}
        call, _ = await one.talk({"audio": {"input": {"turn_detection": detection}}})
        await call.say(voice(900))
        await until(lambda: bool(ear.guesses))
        await call.hang_up()
        await until(lambda: ear.guesses[0].cancelled)

    run_jumping(test, backend=Cascade("x", ear, DemoBrain(), ScriptedVoice()))


class ReadingEar(Ear):
    """Hears a word a second too while the caller speaks."""

    WORDS = "one two three four five six seven eight nine ten"

    def __init__(self) -> None:
        super().__init__()
        self.asked_between = 0

    def hear_so_far(self, speech: Speech, wanted: TranscriptionEcho | None) -> Early | None:
        self.asked_between += 1
        if self.asked_between == 1:
            return None  # no time
        words = " ".join(self.WORDS.split()[: 1 + self.asked_between])
        return SoFar(words, speech)

    async def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        yield Words(self.WORDS)

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> None:
        return None


class SoFar(Early):
    """What was said up to now."""

    def __init__(self, text: str, speech: Speech) -> None:
        super().__init__(0, speech, None)
        self.text = text

    async def words(self) -> AsyncIterator[Words]:
        yield Words(self.text)


def test_a_streaming_transcript_is_read_along_and_its_deltas_are_the_transcript() -> None:
    ear = ReadingEar()

    async def test(one: Live) -> None:
        call, call_id = await one.talk({"audio": {"input": {"transcription": {"model": "gpt-realtime-whisper"}}}})
        async with one.sdk.realtime.connect(call_id=call_id) as connection:
            socket = Socket(connection)
            call.begin_saying(np.concatenate([voice(1600)] * 4))
            before = await socket.until("input_audio_buffer.speech_stopped")
            after = await socket.until(COMPLETED)
            early, late = ([each["delta"] for each in events if each["type"] == DELTA] for events in (before, after))
            assert early, "words came while the caller spoke"
            assert "".join(early + late) == after[-1]["transcript"] == ear.WORDS
            assert len({each["item_id"] for each in before + after if each["type"] == DELTA}) == 1

    run_jumping(test, backend=Cascade("x", ear, DemoBrain(), ScriptedVoice()))


class HeldEar(ReadingEar):
    """Reads along when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    def hear_so_far(self, speech: Speech, wanted: TranscriptionEcho | None) -> SoFar | None:
        self.asked.set()
        return HeldSoFar(self.WORDS, speech, self.let)


class HeldSoFar(SoFar):
    """What was said up to now, when it is let."""

    def __init__(self, text: str, speech: Speech, let: asyncio.Event) -> None:
        super().__init__(text, speech)
        self.let = let

    async def words(self) -> AsyncIterator[Words]:
        await self.let.wait()
        yield Words(self.text)


def test_hearing_another_item_does_not_end_the_words_of_the_turn_that_goes_on() -> None:
    ear = HeldEar()

    async def test(one: Live) -> None:
        async with opened(one) as client:
            await client.update(audio={"input": {"transcription": {"model": "gpt-realtime-whisper"}}})
            await client.append(to_bytes(resample(voice(1600), 8000, 24000)))
            await asyncio.wait_for(ear.asked.wait(), PATIENCE_S)
            audio = base64.b64encode(bytes(48_000)).decode()
            item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}
            await client.send("conversation.item.create", item=item)
            await client.until(COMPLETED)
            ear.let.set()
            assert (await client.until(DELTA))[-1]["delta"]

    run_jumping(test, backend=Cascade("x", ear, DemoBrain(), ScriptedVoice()))


# -- the local ear


def test_the_local_ear_lets_nobody_read_along_unless_a_worker_stays_free() -> None:
    async def test() -> None:
        pool = Pool(PoolOptions("ear", "tests.socket.worker_engine:load", workers=2))
        ear = LocalEar(pool)
        await ear.start()
        try:
            assert ear.hear_so_far(speech_of(limits.EARLY_S + 1), None) is None
            reading = ear.hear_so_far(speech_of(1), None)
            assert reading is not None
            assert ear.hear_so_far(speech_of(1), None) is None, "only one at a time of two"
            reading.cancel()
            await until(lambda: pool.idle == 2)
            held = pool.ask({"do": "hold"})
            assert ear.hear_so_far(speech_of(1), None) is None
            held.cancel()
        finally:
            await ear.stop()

    asyncio.run(test())


def test_the_local_ear_guesses_at_no_long_turn_and_not_while_callers_wait() -> None:
    async def test() -> None:
        now = 100.0
        pool = Pool(PoolOptions("ear", "tests.socket.worker_engine:load"), clock=lambda: now)
        ear = LocalEar(pool)
        await ear.start()
        try:
            assert ear.hear_early(speech_of(limits.EARLY_S + 1), None) is None
            guess = ear.hear_early(speech_of(1), None)
            assert guess is not None
            guess.cancel()
            held, waiting = pool.ask({"do": "hold"}), pool.ask({"do": "echo", "sound": b""})
            await anext(held.results())
            assert ear.hear_early(speech_of(1), None) is not None
            now += limits.EARLY_WAIT_MS / 1000 + 0.01
            assert ear.hear_early(speech_of(1), None) is None
            waiting.cancel()
            held.cancel()
        finally:
            await ear.stop()

    asyncio.run(test())


def test_a_language_that_it_does_not_hear_is_refused_at_the_end_and_not_before() -> None:
    async def test() -> None:
        ear = LocalEar(Pool(PoolOptions("ear", "tests.socket.worker_engine:load")))
        await ear.start()
        try:
            assert ear.hear_early(speech_of(1), TranscriptionEcho(language="xx")) is None
        finally:
            await ear.stop()

    asyncio.run(test())


def speech_of(seconds: float) -> Speech:
    return Speech(bytes(int(16000 * seconds)), 8000)
