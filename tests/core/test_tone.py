"""A numbered tone is still that number after everything a telephone line does to it."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio import g711, tone
from offhook.audio.conceal import Concealer
from offhook.audio.dtmf import DIGITS, dial, frequencies_hz
from offhook.audio.pcm import Samples, silence
from offhook.audio.resample import resample
from offhook.errors import LocalError

EVERY_TONE = range(tone.TONES)


def through_g711(samples: Samples, codec: g711.Codec) -> Samples:
    return g711.decode(g711.encode(samples, codec), codec)


@pytest.mark.parametrize("codec", list(g711.Codec))
@pytest.mark.parametrize("number", EVERY_TONE)
def test_every_number_survives_g711(number: int, codec: g711.Codec) -> None:
    line = np.concatenate([silence(800), tone.tone(number, 500), silence(800)])
    (heard,) = tone.find_tones(through_g711(line, codec))
    assert heard.number == number
    assert abs(heard.start_ms - 100) <= 10
    assert abs(heard.end_ms - 600) <= 10
    assert heard.longest_gap_ms == 0


@pytest.mark.parametrize("number", EVERY_TONE)
def test_every_number_survives_the_way_from_24_khz(number: int) -> None:
    line = resample(tone.tone(number, 400, 24000), 24000, 8000)
    assert [heard.number for heard in tone.find_tones(through_g711(line, g711.Codec.PCMU))] == [number]


@pytest.mark.parametrize("number", EVERY_TONE)
def test_every_number_survives_concealed_loss(number: int) -> None:
    line = tone.tone(number, 600)
    for start in (1600, 3200):  # Two frames of 20 ms lost at a time.
        concealer = Concealer(line[:start])
        line[start : start + 320] = concealer.lost(320)
        line[start + 320 : start + 480] = concealer.found(line[start + 320 : start + 480])
    (heard,) = tone.find_tones(through_g711(line, g711.Codec.PCMA))
    assert heard.number == number
    assert heard.longest_gap_ms <= 40


def test_a_sequence_of_tones_is_read_in_order_with_its_times() -> None:
    line = np.concatenate([tone.tone(3, 200), silence(1600), tone.tone(3, 200), tone.tone(11, 100)])
    heard = tone.find_tones(line)
    assert [each.number for each in heard] == [3, 3, 11]
    assert [each.start_ms for each in heard] == pytest.approx([0, 400, 600], abs=10)


def test_a_hole_is_reported_as_the_gap_of_its_tone() -> None:
    line = tone.tone(7, 500)
    line[1600:2240] = 0
    (heard,) = tone.find_tones(line)
    assert heard.longest_gap_ms == pytest.approx(80, abs=10)


def test_noise_silence_and_touch_tones_are_no_numbers() -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 16000).astype(np.int16)
    for line in (noise, silence(8000), silence(10), dial(DIGITS)):
        assert tone.find_tones(line) == []


def test_an_unknown_tone_is_refused() -> None:
    with pytest.raises(LocalError, match="only 0 to 23"):
        tone.tone(24, 100)


@pytest.mark.parametrize("digit", DIGITS)
def test_touch_tones_hold_their_two_frequencies(digit: str) -> None:
    spectrum = np.abs(np.fft.rfft(dial(digit, tone_ms=200, pause_ms=0)))
    low_hz, high_hz = frequencies_hz(digit)
    strongest = np.sort(spectrum.argsort()[-2:] * 5)
    assert strongest == pytest.approx([low_hz, high_hz], abs=5)


def test_a_letter_is_no_touch_tone() -> None:
    for wrong in ("x", "12", ""):
        with pytest.raises(LocalError):
            frequencies_hz(wrong)


def test_dialling_keeps_time() -> None:
    assert len(dial("123", tone_ms=70, pause_ms=50)) == 3 * 120 * 8
    assert len(dial("")) == 0
