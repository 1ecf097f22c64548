"""What surrounds Whisper's networks: the picture of the sound, the tokens, the cuts, and what is not believed."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.errors import ConfigError
from offhook.model.local.whisper import clearing, doubt, silence
from offhook.model.local.whisper.engine import views
from offhook.model.local.whisper.features import log_mel, mel_filters
from offhook.model.local.whisper.folder import find_folder
from offhook.model.local.whisper.split import LONGEST_S, split_speech
from offhook.model.local.whisper.tokens import END, NO_TIMESTAMPS, PREVIOUS, START, Vocabulary, VocabularyError

# -- the picture of the sound


def slaney_filter(band: int, bands: int, hz: float) -> float:
    """One weight of one filter, straight from the definition of the scale."""

    def to_mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + math.log(hz / 1000) * 27 / math.log(6.4)

    def to_hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    low, middle, high = (to_hz(to_mel(8000) * (band + edge) / (bands + 1)) for edge in range(3))
    if not low < hz < high:
        return 0.0
    height = 2 / (high - low)
    return height * ((hz - low) / (middle - low) if hz < middle else (high - hz) / (high - middle))


@lru_cache
def transform() -> npt.NDArray[np.complex128]:
    return np.array([[np.exp(-2j * math.pi * k * n / 400) for n in range(400)] for k in range(201)])


@lru_cache
def filters(bands: int) -> npt.NDArray[np.float64]:
    return np.array([[slaney_filter(band, bands, 40 * k) for band in range(bands)] for k in range(201)])


def reference(sound: npt.NDArray[np.float64], frames: int, bands: int) -> npt.NDArray[np.float64]:
    """Whisper's log_mel_spectrogram, slow and plain."""
    padded = np.zeros(frames * 160)
    padded[: len(sound)] = sound
    mirrored = np.concatenate([padded[200:0:-1], padded, padded[-2:-202:-1]])
    window = [0.5 * (1 - math.cos(2 * math.pi * n / 400)) for n in range(400)]
    power = np.array([abs(transform() @ (mirrored[160 * t : 160 * t + 400] * window)) ** 2 for t in range(frames)])
    logs = np.log10(np.maximum((power @ filters(bands)).T, 1e-10))
    return (np.maximum(logs, logs.max() - 8) + 4) / 4


@pytest.mark.parametrize("samples", [0, 1, 100, 201, 5000, 15_840, 15_999, 16_000])
def test_the_picture_is_the_one_that_whisper_was_trained_on(samples: int) -> None:
    random = np.random.default_rng(samples)
    tone = np.sin(np.arange(samples) * 0.21) * np.linspace(0, 0.6, samples)
    sound = tone + random.normal(0, 0.001, samples)
    picture = log_mel(sound.astype(np.float32), 100)
    assert picture.shape == (80, 100)
    assert picture.dtype == np.float32
    # What is 60 dB down and more is rounding, where windows are computed in single precision.
    np.testing.assert_allclose(picture, reference(sound, 100, 80), atol=2e-3)


def test_filters_have_unit_area_and_larger_models_have_more_of_them() -> None:
    for bands in (80, 128):
        made = mel_filters(bands)
        assert made.shape == (201, bands)
        np.testing.assert_allclose(made, filters(bands), atol=1e-6)


# -- tokens

CHARS = [chr(n) for n in [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]]
CHARS += [chr(0x100 + n) for n in range(68)]
PAIRS = ["Ġt", "he", "in", "re", "Ġthe", "ll", "llo", "Ġhe", "Ġhello", "Ã¼", "12"]
MARKS = [
    END,
    START,
    "<|en|>",
    "<|de|>",
    "<|haw|>",
    "<|transcribe|>",
    PREVIOUS,
    "<|nospeech|>",
    NO_TIMESTAMPS,
    "<|0.00|>",
]
TOKENS = [*CHARS, *PAIRS, *MARKS]


@pytest.fixture(params=["vocabulary.txt", "vocabulary.json"])
def vocabulary(request: pytest.FixtureRequest, tmp_path: Path) -> Vocabulary:
    path = tmp_path / request.param
    text = json.dumps(TOKENS) if path.suffix == ".json" else "\n".join(TOKENS) + "\n"
    path.write_text(text, encoding="utf-8")
    return Vocabulary.read(tmp_path)


def test_tokens_are_bytes_and_marks_are_silent(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) == len(TOKENS)
    number = TOKENS.index
    assert vocabulary.decode([number("Ġhello"), number(START), number("!")]) == " hello!"
    assert vocabulary.bytes_of(number("Ã¼")) == "ü".encode()
    assert vocabulary.bytes_of(number(END)) == b""
    assert vocabulary.decode([number("Ã")]) == "\ufffd", "half a letter"
    assert vocabulary.languages == {"en", "de", "haw"}


def test_text_is_merged_in_the_order_in_which_it_was_learnt(vocabulary: Vocabulary) -> None:
    named = [TOKENS[number] for number in vocabulary.encode(" the hello grün 123")]
    assert named == ["Ġthe", "Ġhello", "Ġ", "g", "r", "Ã¼", "n", "Ġ", "12", "3"]


@given(text=st.text(max_size=60))
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    vocabulary = Vocabulary(TOKENS)
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_marks_in_a_prompt_are_only_text() -> None:
    vocabulary = Vocabulary(TOKENS)
    numbers = vocabulary.encode("<|endoftext|> <|en|>")
    assert all(number < vocabulary.end for number in numbers)


@pytest.mark.parametrize("text", ["[1, 2]", '{"a": 1}', "not json", '["a", "b"]'])
def test_what_is_no_vocabulary_of_whisper_is_said_so(text: str, tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_text(text)
    with pytest.raises(VocabularyError):
        Vocabulary.read(tmp_path)


# -- cuts


def speech(*stretches: tuple[float, float]) -> npt.NDArray[np.int16]:
    """Noise in stretches of (seconds, level) at 8 kHz."""
    random = np.random.default_rng(5)
    return np.concatenate([random.normal(0, level, int(seconds * 8000)) for seconds, level in stretches]).astype(
        np.int16
    )


def test_long_speech_is_cut_in_the_pause_and_nothing_is_lost() -> None:
    whole = speech((25.0, 2000), (0.3, 10), (20.0, 2000), (0.4, 10), (20.0, 2000))
    pieces = split_speech(whole, 8000)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    ends = np.cumsum([len(piece) / 8000 for piece in pieces])
    assert len(pieces) == 3
    assert 25.0 < ends[0] < 25.3
    assert 45.3 < ends[1] < 45.7


def test_speech_without_a_pause_is_cut_all_the_same() -> None:
    pieces = split_speech(speech((120.0, 2000)), 8000)
    assert all(len(piece) <= LONGEST_S * 8000 for piece in pieces)
    assert len(pieces) <= 7


@pytest.mark.parametrize("seconds", [0.0, 0.1, LONGEST_S])
def test_short_speech_is_left_whole(seconds: float) -> None:
    whole = speech((seconds, 1000))
    (piece,) = split_speech(whole, 8000)
    assert len(piece) == len(whole)


# -- what is not believed


@pytest.mark.parametrize(
    ("text", "no_speech", "mean_logprob", "running_on"),
    [
        ("", 0.0, 0.0, False),
        (" . . . . .", 0.0, -0.1, False),
        (" Thanks for watching!", 0.5, -0.2, False),
        (" you", 0.95, -0.8, False),
        (" I'm sorry.", 0.85, -1.65, False),
        (" Ooh!", 0.46, -1.64, False),
        (" JANU,", 0.25, -2.46, False),
        (" Beep beep beep beep beep beep", 0.51, -0.05, True),
    ],
)
def test_words_out_of_silence_are_not_believed(
    text: str, no_speech: float, mean_logprob: float, running_on: bool
) -> None:
    assert doubt.is_made_up(text, no_speech, mean_logprob, running_on=running_on)


@pytest.mark.parametrize(
    ("text", "no_speech", "mean_logprob"),
    [
        (" Thank you.", 0.04, -0.13),
        (" Bye!", 0.09, -0.68),
        (" Please leave a message.", 0.8, -0.3),
        (" See", 0.13, -1.38),
        (" 5.", 0.04, -0.36),
    ],
)
def test_what_was_said_is_believed(text: str, no_speech: float, mean_logprob: float) -> None:
    assert not doubt.is_made_up(text, no_speech, mean_logprob)


@pytest.mark.parametrize(
    ("tokens", "start", "unit"),
    [([7] * 6, 0, 1), ([1, 2, 3] + [8, 9] * 7, 3, 2), ([5, *[1, 2, 3, 4] * 6, 9], 1, 4)],
)
def test_a_loop_is_found_and_cut_after_its_first_round(tokens: list[int], start: int, unit: int) -> None:
    assert doubt.repetition(tokens) == (start, unit)
    assert doubt.end_of_sense(tokens) == start + unit
    assert doubt.runs_on("short", tokens, 200)


def test_a_number_of_equal_digits_is_no_loop() -> None:
    tokens = [5, 5, 5, 13, 5, 5, 5, 5, 5]
    assert doubt.repetition(tokens) is None
    assert doubt.end_of_sense(tokens) == len(tokens)
    assert not doubt.runs_on(" 555-55555", tokens, 40)


def test_text_that_says_the_same_over_and_over_or_never_ends_runs_on() -> None:
    assert doubt.runs_on("I am so sorry about it, I am. " * 5, [1, 2, 3], 40)
    assert doubt.runs_on("Any words at all", list(range(40)), 40)
    assert not doubt.runs_on(
        "Please enter your password followed by the pound key, then wait for the tone.", [1, 2], 40
    )


@pytest.mark.parametrize(
    ("tokens", "place"),
    [
        ([7, 8, 9, 7, 8, 9], 3),
        ([1, 2, 7, 8, 9, 4, 7, 8, 9, 4, 7], 6),
        ([5, 1, 5, 1, 5, 9], None),
        ([7, 8, 9, 1, 7, 8, 9], None),
        ([], None),
    ],
)
def test_a_sentence_that_begins_once_more_is_found(tokens: list[int], place: int | None) -> None:
    assert doubt.said_again(tokens) == place


def test_one_word_that_comes_twice_is_only_doubted() -> None:
    """ "Stop. Stop." of a single one: it is heard again in whole, and never cut."""
    stop, mark = 5, 1
    assert doubt.said_again([stop, mark, stop, mark]) is None
    assert doubt.said_again([stop, mark, stop, mark], doubt.LEAST_DOUBTED) == 2


@pytest.mark.parametrize(
    ("begun", "end_logprob", "over"),
    [(" Press 7 to go back.", -0.8, True), (" Press 7 to go back.", -2.3, False), (" It is 1 2 3", -0.8, False)],
)
def test_only_a_sentence_that_may_end_is_taken_for_all_that_was_said(
    begun: str, end_logprob: float, over: bool
) -> None:
    assert doubt.is_over(begun, end_logprob, tokens_a_second=8.0) is over


def test_a_sentence_that_there_was_time_to_say_twice_is_not_taken_for_one() -> None:
    assert not doubt.is_over(" I want to cancel.", -0.8, tokens_a_second=4.0)


def test_most_of_the_silence_behind_speech_is_not_encoded_again() -> None:
    assert silence.span_s(2.4) == 3.0
    assert silence.span_s(2.6) == 3.5
    (first, *others) = views(2.4, prompted=False)
    assert first == (15, 3.0)
    assert others == views(2.4, prompted=True) == views(14.4, prompted=False) == [(15, 15), (30, 30)]
    assert views(20.0, prompted=False) == [(30, 30)]


# -- noise


def harmonics(seconds: float, level: float) -> npt.NDArray[np.float32]:
    """A voice of no words at 16 kHz: syllables of 200 ms, with 100 ms between them and half a second around."""
    at_s = np.arange(round(seconds * 16000)) / 16000
    voiced = sum(np.sin(2 * np.pi * 150 * number * at_s) / number for number in range(1, 20))
    sound = level * voiced * (at_s % 0.3 < 0.2)
    return np.pad(sound, 8000).astype(np.float32)


def decibels(sound: npt.NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.square(sound.astype(np.float64)).mean()))


@pytest.mark.parametrize("seconds", [0.1, 0.5, 3.0])
def test_noise_is_taken_out_of_speech_and_the_speech_stays_in_its_place(seconds: float) -> None:
    spoken = harmonics(seconds, 0.1)
    noise = np.random.default_rng(2).normal(0, 0.03, len(spoken)).astype(np.float32)
    noisy = spoken + noise
    cleared = clearing.cleared(noisy)
    assert len(cleared) == len(noisy)
    assert decibels(noisy[:7000]) - decibels(cleared[:7000]) > 10
    inside = slice(8000, len(spoken) - 8000)
    assert abs(decibels(cleared[inside]) - decibels(spoken[inside])) < 3
    assert decibels((cleared - spoken)[inside]) < decibels(noise[inside]) - 2


def test_a_quiet_line_is_not_noisy_and_a_bad_one_is() -> None:
    spoken = harmonics(2.0, 0.1)
    random = np.random.default_rng(3)
    assert not clearing.is_noisy(spoken)
    assert not clearing.is_noisy((spoken + random.normal(0, 0.0005, len(spoken))).astype(np.float32))
    assert clearing.is_noisy((spoken + random.normal(0, 0.03, len(spoken))).astype(np.float32))


def test_speech_lasts_from_its_first_loud_moment_to_its_last() -> None:
    assert clearing.spoken_s(harmonics(2.0, 0.1)) == pytest.approx(2.0, abs=0.05)
    assert clearing.spoken_s(np.zeros(100, np.float32)) > 0


# -- where the weights are


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_folder(str(tmp_path))
    assert caught.value.key == "--whisper"
    assert str(tmp_path) in caught.value.message or "not installed" in caught.value.message
