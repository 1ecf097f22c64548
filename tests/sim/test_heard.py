"""What is remembered of an answer that was interrupted is what the caller heard of it."""

from __future__ import annotations

import random

import pytest
from tests.joined import Joined
from tests.memory_network import Weather

from offhook.audio.g711 import Codec
from offhook.audio.pcm import to_bytes
from offhook.audio.stretch import stretch
from offhook.audio.tone import TONES, find_tones, tone
from offhook.session.heard import Heard

WORDS = [f"word{number}" for number in range(40)]
SPEEDS = [0.25, 0.5, 1.0, 1.25, 1.5]
GOOD, JITTERY = Weather(delay_ms=20), Weather(delay_ms=30, jitter_ms=40)


def tones_for_words(speed: float, rate_hz: int, chance: random.Random) -> list[tuple[bytes, int, str]]:
    """Every word is a tone of its own length, as a voice gives it that speaks at this speed."""
    pieces = []
    for number, word in enumerate(WORDS):
        sound = stretch(tone(number % TONES, chance.randrange(150, 500, 10), rate_hz), rate_hz, speed)
        pieces.append((to_bytes(sound), rate_hz, f"{word} "))
    return pieces


def interrupted(
    seed: int, *, speed: float = 1.0, rate_hz: int = 24000, codec: Codec = Codec.PCMU, weather: Weather = GOOD
) -> tuple[str, int, Joined]:
    """Interrupt an answer of tones at a random moment."""
    chance = random.Random(seed)
    call = Joined(seed=seed, codec=codec, weather=weather)
    call.answer(tones_for_words(speed, rate_hz, chance))
    call.run(chance.randrange(400, 4000, 5))
    kept, audio_end_ms = call.interrupt()
    return kept, audio_end_ms, call


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("weather", [GOOD, JITTERY])
def test_after_an_interruption_the_transcript_keeps_the_words_that_were_heard_and_no_others(
    speed: float, weather: Weather
) -> None:
    """Complaint 34: users found 5 to 10 s in the conversation that nobody had heard."""
    for seed in range(2):
        kept, _, call = interrupted(seed, speed=speed, weather=weather)
        heard = [each.number for each in find_tones(call.heard, bridge_ms=60)]
        assert kept == " ".join(WORDS[: len(kept.split())])
        assert abs(len(kept.split()) - len(heard)) <= 1, (kept, heard)
        assert heard == [number % TONES for number in range(len(heard))]


@pytest.mark.parametrize("codec", [Codec.PCMU, Codec.PCMA])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
@pytest.mark.parametrize(("speed", "weather"), [(1.0, GOOD), (1.0, JITTERY), (0.25, GOOD), (1.5, JITTERY)])
def test_audio_end_ms_is_right_on_the_callers_clock(codec: Codec, rate_hz: int, speed: float, weather: Weather) -> None:
    """Complaint 35: the position of a cut, summed up by clients at 24 kHz, landed in the wrong place of a call."""
    _, audio_end_ms, call = interrupted(3, speed=speed, rate_hz=rate_hz, codec=codec, weather=weather)
    assert abs(audio_end_ms - len(call.heard) / 8) <= 20


def test_a_word_counts_once_half_of_it_was_heard() -> None:
    heard = Heard()
    for word in WORDS[:5]:
        heard.add_audio(400, f"{word} ")
    assert [heard.until(ms) for ms in (0, 100, 220, 540, 640)] == ["", "", "word0", "word0", "word0 word1"]
    assert heard.until(5000) == " ".join(WORDS[:5])


def test_in_a_sentence_whose_words_nobody_places_each_counts_by_its_letters() -> None:
    heard = Heard()
    heard.add_audio(1000, "ab cdef gh")
    assert [heard.until(ms) for ms in (90, 110, 490, 510, 890, 910)] == [
        "", "ab", "ab", "ab cdef", "ab cdef", "ab cdef gh",
    ]  # fmt: skip


def test_the_callers_recording_is_as_long_as_what_was_said() -> None:
    """These tests judge by it, so it is judged too."""
    call = Joined()
    call.answer([(to_bytes(tone(3, 1000, 24000)), 24000, "la")])
    call.run(1500)
    (heard,) = find_tones(call.heard)
    assert heard.end_ms - heard.start_ms == 1000
    assert len(call.heard) == 8000
