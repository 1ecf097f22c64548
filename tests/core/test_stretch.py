"""What a change of speed must do to speech: keep its pitch, change its length, add no clicks, move nothing far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.audio.pcm import Samples
from offhook.audio.stretch import Stretcher, stretch
from offhook.errors import LocalError

SPEEDS = [0.25, 0.5, 0.8, 0.95, 1.1, 1.25, 1.5, 2.0]


def vowel(pitch_hz: float, rate_hz: int, seconds: float) -> Samples:
    """A buzz with the falling spectrum of a voice, swelling and fading like syllables."""
    at_s = np.arange(int(seconds * rate_hz)) / rate_hz
    harmonics = range(1, int(3400 / pitch_hz))
    wave = sum(np.cos(2 * np.pi * pitch_hz * number * at_s + number) / number for number in harmonics)
    return np.rint(4000 * wave * (1 + 0.5 * np.sin(2 * np.pi * 4 * at_s))).astype(np.int16)


def pitch_of(samples: Samples, rate_hz: int) -> float:
    """The strongest period between 70 and 350 Hz of a second from the middle."""
    middle = len(samples) // 2
    part = samples[middle - rate_hz // 2 : middle + rate_hz // 2].astype(float)
    spectrum = np.fft.rfft(part, 2 * len(part))
    likeness = np.fft.irfft(np.abs(spectrum) ** 2)
    shortest, longest = rate_hz // 350, rate_hz // 70
    return rate_hz / (shortest + int(likeness[shortest:longest].argmax()))


def centre_of(loudness: npt.NDArray[np.int64], first: int, end: int) -> float:
    places = np.arange(first, end)
    return float((places * loudness[first:end]).sum() / loudness[first:end].sum())


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("rate_hz", [8000, 24000])
@pytest.mark.parametrize("pitch_hz", [90.0, 210.0])
def test_the_pitch_stays(speed: float, rate_hz: int, pitch_hz: float) -> None:
    spoken = vowel(pitch_hz, rate_hz, 2.5)
    assert pitch_of(stretch(spoken, rate_hz, speed), rate_hz) == pytest.approx(pitch_of(spoken, rate_hz), rel=0.02)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_length_is_exact(speed: float) -> None:
    assert len(stretch(vowel(150.0, 8000, 1.0), 8000, speed)) == round(8000 / speed)


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("pitch_hz", [90.0, 210.0])
def test_no_clicks(speed: float, pitch_hz: float) -> None:
    spoken = vowel(pitch_hz, 24000, 2.0)
    jump = np.abs(np.diff(stretch(spoken, 24000, speed).astype(int))).max()
    assert jump <= 1.1 * np.abs(np.diff(spoken.astype(int))).max()


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_loudness_stays(speed: float) -> None:
    spoken = vowel(130.0, 8000, 2.0)
    changed = stretch(spoken, 8000, speed)
    assert changed.astype(float).std() == pytest.approx(spoken.astype(float).std(), rel=0.05)


@pytest.mark.parametrize("speed", [speed for speed in SPEEDS if speed <= 1.5])
def test_every_burst_is_found_where_it_belongs(speed: float) -> None:
    spoken = np.zeros(16000, np.int16)
    starts = range(2000, 15000, 3000)
    for start in starts:
        spoken[start : start + 1200] = vowel(180.0, 8000, 0.15)
    changed = np.abs(stretch(spoken, 8000, speed).astype(int))
    for start in starts:
        given = centre_of(np.abs(spoken.astype(int)), start - 300, start + 1500)
        found = centre_of(changed, int((start - 300) / speed), int((start + 1500) / speed))
        assert abs(found - given / speed) < 8000 * 0.006


def test_silence_stays_silent() -> None:
    assert not stretch(np.zeros(8000, np.int16), 8000, 0.7).any()


def test_normal_speed_changes_nothing() -> None:
    spoken = vowel(120.0, 8000, 0.3)
    assert np.array_equal(stretch(spoken, 8000, 1.0), spoken)


def test_nothing_gives_nothing() -> None:
    assert len(stretch(np.zeros(0, np.int16), 8000, 0.5)) == 0


def test_a_stretcher_can_be_used_again() -> None:
    stream = Stretcher(8000, 0.8)
    spoken = vowel(140.0, 8000, 0.5)
    first = np.concatenate([stream.push(spoken), stream.finish()])
    second = np.concatenate([stream.push(spoken), stream.finish()])
    assert np.array_equal(first, second)


@pytest.mark.parametrize(("rate_hz", "speed"), [(8000, 0.2), (8000, 5.0), (8000, float("nan")), (4000, 1.5)])
def test_what_cannot_be_stretched_is_refused(rate_hz: int, speed: float) -> None:
    with pytest.raises(LocalError):
        Stretcher(rate_hz, speed)


@settings(max_examples=40)
@given(cuts=st.lists(st.integers(0, 4000), max_size=8), speed=st.sampled_from(SPEEDS), seed=st.integers(0, 99))
def test_any_cut_of_the_input_gives_the_same_output(cuts: list[int], speed: float, seed: int) -> None:
    spoken = np.random.default_rng(seed).integers(-9000, 9000, 4000).astype(np.int16)
    stream = Stretcher(8000, speed)
    parts = [stream.push(part) for part in np.split(spoken, sorted(cuts))]
    assert np.array_equal(np.concatenate([*parts, stream.finish()]), stretch(spoken, 8000, speed))
