"""What a resampler must do to sound: pass the voice band, keep images and aliases out, keep time."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio.pcm import Samples
from offhook.audio.resample import RATES_HZ, Resampler, is_convertible, resample
from offhook.errors import LocalError

PAIRS = [
    (8000, 16000),
    (16000, 8000),
    (8000, 24000),
    (24000, 8000),
    (16000, 24000),
    (24000, 16000),
    (48000, 8000),
    (22050, 8000),
    (44100, 8000),
    (11025, 8000),
    (12000, 8000),
    (32000, 8000),
    (22050, 24000),
    (20000, 8000),
    (18900, 8000),
    (18900, 24000),
    (96000, 8000),
    (176400, 24000),
]


def tone(frequency_hz: float, rate_hz: int, count: int = 8000, amplitude: float = 20000.0) -> Samples:
    return np.rint(amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(count) / rate_hz)).astype(np.int16)


def level_db(samples: Samples, frequency_hz: float, rate_hz: int) -> float:
    """Level of one frequency against the 20,000 amplitude of `tone`, the edges left out."""
    middle = samples[len(samples) // 4 : -len(samples) // 4].astype(float)
    window = np.hanning(len(middle))
    wave = np.exp(-2j * np.pi * frequency_hz * np.arange(len(middle)) / rate_hz)
    return float(20 * np.log10(abs((middle * window * wave).sum()) / window.sum() * 2 / 20000 + 1e-9))


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS)
@pytest.mark.parametrize("frequency_hz", [300.0, 1000.0, 3400.0])
def test_the_voice_band_passes_unchanged(rate_in_hz: int, rate_out_hz: int, frequency_hz: float) -> None:
    converted = resample(tone(frequency_hz, rate_in_hz), rate_in_hz, rate_out_hz)
    assert abs(level_db(converted, frequency_hz, rate_out_hz)) < 0.01


@pytest.mark.parametrize("rate_out_hz", [16000, 24000, 48000])
def test_images_are_80_db_down(rate_out_hz: int) -> None:
    converted = resample(tone(3400.0, 8000), 8000, rate_out_hz)
    assert level_db(converted, 8000 - 3400.0, rate_out_hz) < -80


@pytest.mark.parametrize("rate_in_hz", [16000, 22050, 24000, 44100, 48000])
def test_aliases_are_80_db_down(rate_in_hz: int) -> None:
    converted = resample(tone(4600.0, rate_in_hz), rate_in_hz, 8000)
    assert level_db(converted, 3400.0, 8000) < -80


@pytest.mark.parametrize("rate_hz", [16000, 24000, 48000])
def test_there_and_back_again_is_the_same_sound(rate_hz: int) -> None:
    random = np.random.default_rng(2)
    spectrum = np.zeros(4001, dtype=complex)
    spectrum[300:3401] = random.normal(size=3101) + 1j * random.normal(size=3101)
    speech = np.fft.irfft(spectrum, 8000)
    samples = np.rint(speech / np.abs(speech).max() * 20000).astype(np.int16)
    back = resample(resample(samples, 8000, rate_hz), rate_hz, 8000)
    assert len(back) == len(samples)
    middle = slice(100, -100)
    difference = back[middle].astype(int) - samples[middle].astype(int)
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize(("rate_in_hz", "rate_out_hz"), PAIRS)
def test_a_click_stays_where_it_was(rate_in_hz: int, rate_out_hz: int) -> None:
    samples = np.zeros(rate_in_hz // 10, dtype=np.int16)
    samples[rate_in_hz // 20] = 30000
    converted = resample(samples, rate_in_hz, rate_out_hz)
    assert abs(int(np.abs(converted.astype(int)).argmax()) - rate_out_hz // 20) <= 1


def test_full_scale_clips_and_does_not_wrap() -> None:
    square = np.where(np.arange(800) % 80 < 40, 32767, -32768).astype(np.int16)
    converted = resample(square, 8000, 24000).astype(int)
    assert np.abs(np.diff(converted)).max() < 40000


def test_a_stream_at_its_own_rate_passes_through_untouched() -> None:
    stream = Resampler(8000, 8000)
    samples = tone(440.0, 8000)
    assert np.array_equal(stream.push(samples), samples)
    assert len(stream.finish()) == 0


def test_a_finished_stream_starts_afresh() -> None:
    stream = Resampler(24000, 8000)
    samples = tone(440.0, 24000, 2400)
    first = np.concatenate([stream.push(samples), stream.finish()])
    again = np.concatenate([stream.push(samples), stream.finish()])
    assert np.array_equal(first, again)


def test_a_20_ms_tick_of_24_khz_gives_160_samples_each_time() -> None:
    stream = Resampler(24000, 8000)
    counts = [len(stream.push(np.zeros(480, dtype=np.int16))) for _ in range(50)]
    assert set(counts[2:]) == {160}


def test_an_unknown_rate_is_refused_by_name() -> None:
    with pytest.raises(LocalError, match="44001 Hz"):
        Resampler(44001, 8000)


@pytest.mark.parametrize("rate_hz", [*RATES_HZ, 8025, 14700, 18900, 20000, 37800, 88200, 96000, 176400, 192000])
def test_sound_of_any_rate_in_a_simple_ratio_to_the_telephones_can_be_converted(rate_hz: int) -> None:
    assert is_convertible(rate_hz)
    assert len(resample(tone(440.0, rate_hz, rate_hz // 10), rate_hz, 8000)) == -(-(rate_hz // 10) * 8000 // rate_hz)


@pytest.mark.parametrize("rate_hz", [-8000, 0, 7999, 4000, 8001, 16001, 44101, 47999, 192025, 384000])
def test_sound_of_a_rate_whose_filter_would_be_huge_is_refused(rate_hz: int) -> None:
    assert not is_convertible(rate_hz)
    with pytest.raises(LocalError, match="cannot convert"):
        Resampler(rate_hz, 8000)
