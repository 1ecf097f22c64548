"""The agent becomes softer, and loud again, without a click."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples
from offhook.audio.tone import tone
from offhook.media.ducking import DUCKED_DB, Ducking
from offhook.media.limits import FRAME_TICKS

CODECS = pytest.mark.parametrize("codec", [Codec.PCMU, Codec.PCMA])


def through(ducking: Ducking, samples: Samples, codec: Codec) -> Samples:
    payload = g711.encode(samples, codec)
    frames = [payload[start : start + FRAME_TICKS] for start in range(0, len(payload), FRAME_TICKS)]
    return g711.decode(b"".join(ducking.apply(frame, codec) for frame in frames), codec)


def power(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


@CODECS
def test_a_ducked_agent_is_softer_and_the_same_tone(codec: Codec) -> None:
    ducking, sound = Ducking(), tone(7, 400)
    before = through(ducking, sound, codec)
    assert np.array_equal(before, g711.decode(g711.encode(sound, codec), codec))
    ducking.duck(ducked=True)
    through(ducking, sound[:FRAME_TICKS], codec)
    softer = through(ducking, sound, codec)
    assert power(before) - power(softer) == pytest.approx(DUCKED_DB, abs=0.3)
    assert np.corrcoef(before, softer)[0, 1] > 0.99
    ducking.duck(ducked=False)
    through(ducking, sound[:FRAME_TICKS], codec)
    assert np.array_equal(through(ducking, sound, codec), before)


@CODECS
def test_the_volume_changes_in_steps_too_small_to_click(codec: Codec) -> None:
    ducking = Ducking()
    loud = np.full(2 * FRAME_TICKS, 10000, np.int16)
    for ducked in (True, False):
        ducking.duck(ducked=ducked)
        heard = np.abs(through(ducking, loud, codec).astype(np.float64))
        steps = np.abs(np.diff(20 * np.log10(heard)))
        assert 0 < steps.max() < 4


@CODECS
def test_silence_stays_silence(codec: Codec) -> None:
    ducking = Ducking()
    ducking.duck(ducked=True)
    silent = np.abs(through(ducking, np.zeros(FRAME_TICKS, np.int16), codec))
    assert silent.max() <= 8
