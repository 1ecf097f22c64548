"""What is invented in place of lost sound."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.conceal import FADE_SAMPLES, Concealer
from offhook.audio.level import SILENCE_DBFS, EnergyGate, levels_dbfs, levels_of_g711
from offhook.audio.pcm import Samples, silence


def voiced(pitch_hz: float, count: int) -> Samples:
    """A buzz with ten harmonics, like a vowel."""
    time = np.arange(count) / 8000
    wave = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 11))
    return np.rint(4000 * np.asarray(wave)).astype(np.int16)


@pytest.mark.parametrize("pitch_hz", [80.0, 120.0, 190.0, 280.0])
def test_a_vowel_goes_on_through_a_lost_frame(pitch_hz: float) -> None:
    speech = voiced(pitch_hz, 4000)
    invented = Concealer(speech[:2000]).lost(160)
    truth = speech[2000:2160].astype(float)
    assert np.corrcoef(invented[:80], truth[:80])[0, 1] > 0.9
    assert levels_dbfs(invented)[0] == pytest.approx(levels_dbfs(speech[2000:2080])[0], abs=2.5)


def test_concealment_has_faded_to_silence_after_60_ms() -> None:
    concealer = Concealer(voiced(120.0, 2000))
    invented = np.concatenate([concealer.lost(160) for _ in range(6)])
    levels = levels_dbfs(invented)
    assert FADE_SAMPLES == 60 * 8
    assert levels[0] > -25
    assert not invented[FADE_SAMPLES:].any()
    assert (np.diff(levels[1:6]) < 0.5).all()


def test_the_real_sound_comes_back_without_a_jump() -> None:
    speech = voiced(120.0, 4000)
    concealer = Concealer(speech[:2000])
    invented = concealer.lost(160)
    back = concealer.found(speech[2160:2320])
    natural = np.abs(np.diff(speech.astype(int))).max()
    assert abs(int(back[0]) - int(invented[-1])) <= natural
    assert np.array_equal(back[30:], speech[2190:2320])


def test_with_no_history_there_is_silence() -> None:
    concealer = Concealer(voiced(120.0, 100))
    assert not concealer.lost(160).any()
    samples = voiced(120.0, 160)
    assert np.array_equal(concealer.found(samples), samples)


def test_silence_is_continued_as_silence() -> None:
    assert not Concealer(silence(320)).lost(480).any()


def test_levels_are_counted_in_steps_of_10_ms() -> None:
    square = np.where(np.arange(240) < 80, 16384, np.where(np.arange(240) < 160, 0, 328)).astype(np.int16)
    square[::2] *= -1
    assert levels_dbfs(square[:235]) == pytest.approx([-6.02, SILENCE_DBFS], abs=0.1)
    assert levels_dbfs(square) == pytest.approx([-6.02, SILENCE_DBFS, -40.0], abs=0.1)


def test_a_constant_offset_is_not_loud() -> None:
    assert levels_dbfs(np.full(80, 3000, dtype=np.int16))[0] == SILENCE_DBFS


def test_the_background_learns_a_fan_in_two_seconds_but_not_a_sentence() -> None:
    fan, sentence = EnergyGate(), EnergyGate()
    loud = fan.follow([-38.0] * 200, speech=False)
    assert loud >> 190 == 0b1111111111
    assert loud & 0b1111111111 == 0
    assert fan.floor_dbfs > -42.0
    assert sentence.follow([-20.0] * 200, speech=True) == (1 << 200) - 1
    assert sentence.floor_dbfs < -54.0


def test_the_background_falls_at_once() -> None:
    gate = EnergyGate()
    gate.follow([-35.0] * 300, speech=False)
    gate.follow([-70.0] * 20, speech=True)
    assert gate.floor_dbfs < -65.0
    assert gate.follow([-70.0, -50.0, -64.0, -60.0], speech=False) == 0b0101


def test_the_lowest_noise_is_no_noise() -> None:
    gate = EnergyGate()
    assert gate.follow([SILENCE_DBFS] * 100, speech=False) == 0
    assert gate.floor_dbfs == -75.0


@pytest.mark.parametrize("codec", list(g711.Codec))
def test_levels_of_payloads_are_those_of_their_sound(codec: g711.Codec) -> None:
    sound = np.concatenate([voiced(120.0, 800), silence(160), np.full(170, 500, dtype=np.int16)])
    payload = g711.encode(sound, codec)
    assert levels_of_g711(payload, codec) == pytest.approx(levels_dbfs(g711.decode(payload, codec)).tolist())
