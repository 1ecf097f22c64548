"""Noise reduction: the noise of a line goes, the voice and the line's clock stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, from_bytes, saturate, to_bytes
from offhook.host.line import noise_level
from offhook.media.noise import LEVELS, NoiseReducer, PcmNoiseReducer, load_processors
from offhook.testing.voice import voice
from offhook.wire.session import NoiseReduction

PACKET = 160
needs_package = pytest.mark.skipif(load_processors() is None, reason="noise reduction is not installed: offhook[noise]")


@dataclass
class AsItIs:
    """What comes back of 10 ms that nobody cleans."""

    audio: bytes


class Nothing:
    """Cleans nothing, so that only the changes of rate are heard."""

    def Process10ms(self, samples: bytes) -> AsItIs:  # noqa: N802 - so it is called
        return AsItIs(samples)


def through(reducer: NoiseReducer, samples: Samples, codec: Codec = Codec.PCMU, size: int = PACKET) -> Samples:
    payload = g711.encode(samples, codec)
    pieces = [reducer.clean(payload[at : at + size]) for at in range(0, len(payload), size)]
    return g711.decode(b"".join(pieces), codec)


def decibels(samples: Any) -> float:
    return float(10 * np.log10(np.square(samples.astype(float)).mean()))


@needs_package
@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize(("level", "quieter_db"), [(3, 11.0), (4, 14.0)])
def test_the_noise_becomes_softer_and_the_voice_does_not(codec: Codec, level: int, quieter_db: float) -> None:
    make = load_processors()
    assert make is not None
    second = 8000
    spoken = np.concatenate([np.concatenate([np.zeros(2 * second), voice(1000, seed=seed)]) for seed in range(4)])
    noise = np.random.default_rng(1).normal(0, 300, len(spoken))
    before = saturate(spoken + noise)
    after = through(NoiseReducer(make(level), codec), before, codec)
    assert len(after) == len(before)
    pauses = np.concatenate(
        [np.arange(start + second, start + 2 * second) for start in range(0, len(spoken), 3 * second)]
    )
    voices = np.concatenate(
        [np.arange(start + 2 * second, start + 3 * second) for start in range(0, len(spoken), 3 * second)]
    )
    assert decibels(before[pauses]) - decibels(after[pauses]) >= quieter_db
    assert abs(decibels(before[voices]) - decibels(after[voices])) <= 2.0


@pytest.mark.parametrize("hz", [120, 440, 1000, 2200, 3100])
def test_the_changes_of_rate_cost_two_milliseconds_and_nothing_of_the_sound(hz: int) -> None:
    tone = saturate(9000 * np.sin(2 * np.pi * hz * np.arange(8000) / 8000))
    after = through(NoiseReducer(Nothing(), Codec.PCMU), tone)
    difference = after[1015:].astype(float) - tone[1000:-15]
    assert decibels(tone) - decibels(difference) >= 30.0  # G.711 itself leaves 38 dB


@pytest.mark.parametrize("size", [1, 40, 77, 200, 240, 480])
def test_packets_of_any_size_keep_the_line_and_are_a_step_late_at_most(size: int) -> None:
    sound = voice(1600)
    usual = through(NoiseReducer(Nothing(), Codec.PCMU), sound)
    other = through(NoiseReducer(Nothing(), Codec.PCMU), sound, size=size)
    assert len(other) == len(sound)
    late = next(late for late in range(80) if np.array_equal(other[late:], usual[: len(usual) - late]))
    assert late == 0 or size % 80


@pytest.mark.parametrize("size", [2, 100, 960, 4802, 48000])
def test_a_line_of_24_khz_keeps_its_length_and_is_15_ms_late_however_it_is_cut(size: int) -> None:
    tone = saturate(9000 * np.sin(2 * np.pi * 1000 * np.arange(24000) / 24000))
    reducer, audio = PcmNoiseReducer(Nothing(), 24000), to_bytes(tone)
    pieces = [audio[at : at + size] for at in range(0, len(audio), size)]
    cleaned = [reducer.clean(piece) for piece in pieces]
    assert [len(piece) for piece in cleaned] == [len(piece) for piece in pieces]
    late = 358
    difference = from_bytes(b"".join(cleaned))[late + 500 :].astype(float) - tone[500:-late]
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize(
    ("wanted", "level"),
    [
        (None, 0),
        (NoiseReduction(type="near_field"), 3),
        (NoiseReduction(type="far_field"), 4),
        (NoiseReduction(type="near_field", strength=0.4), 1),
        (NoiseReduction(type="far_field", strength=0), 0),
        (NoiseReduction(type="near_field", strength=1e308), LEVELS),
    ],
)
def test_near_voices_are_cleaned_less_than_far_ones(wanted: NoiseReduction | None, level: int) -> None:
    assert noise_level(wanted) == level
