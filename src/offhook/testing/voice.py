"""A voice that a voice detector believes: harmonics under moving formants. Made here, so no recording is needed."""

from __future__ import annotations

import numpy as np

from offhook.audio.pcm import Samples, saturate

_VOWELS = np.array(
    [
        (730.0, 1090.0, 2440.0),
        (270.0, 2290.0, 3010.0),
        (300.0, 870.0, 2240.0),
        (530.0, 1840.0, 2480.0),
        (570.0, 840.0, 2410.0),
        (640.0, 1190.0, 2390.0),
    ]
)  # The first three formants of American vowels (Peterson and Barney, 1952), in Hz.
_WIDTHS = ((1.0, 80.0), (0.6, 110.0), (0.25, 160.0))
_SYLLABLE = 1600
# Seeds whose vowels the detector takes for one utterance, wherever its windows fall; others have a syllable that it
# takes for a pause.
_BELIEVED = (0, 2, 3, 8, 20, 22, 27, 28, 37, 43, 44, 46)


def voice(duration_ms: int, *, seed: int = 0, level_dbfs: float = -20.0, pitch_hz: float = 120.0) -> Samples:
    """Speak nonsense for so long at 8 kHz, without a pause, from its first sample to its last.

    There are twelve different ones; ``seed`` counts on from the first after the last. From 100 to 160 Hz of mean
    pitch all of them were tried on the detector.
    """
    random = np.random.default_rng(_BELIEVED[seed % len(_BELIEVED)])
    count = duration_ms * 8
    time = np.arange(count) / 8000
    pitch = pitch_hz + 25 * np.sin(2 * np.pi * 0.7 * time + random.uniform(0, 6)) + 10 * np.sin(2 * np.pi * 2.3 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 8000
    syllable = np.arange(count) / _SYLLABLE
    index = syllable.astype(int)
    vowels = _VOWELS[random.integers(len(_VOWELS), size=count // _SYLLABLE + 2)]
    glide = np.clip((syllable - index) * 1.6, 0, 1)[:, None]
    formants = vowels[index] * (1 - glide) + vowels[index + 1] * glide
    wave = np.zeros(count)
    for harmonic in range(1, 30):
        frequency = harmonic * pitch
        gain = sum(
            weight / (1 + ((frequency - formants[:, number]) / width) ** 2)
            for number, (weight, width) in enumerate(_WIDTHS)
        )
        wave += np.where(frequency < 3700, gain, 0) * np.sin(harmonic * phase) / np.sqrt(harmonic)
    wave *= 0.25 + 0.75 * np.sin(np.pi * (syllable - index)) ** 0.6
    wave *= np.minimum(np.minimum(time, time[::-1]) / 0.008, 1)
    wave *= 32768 * 10 ** (level_dbfs / 20) / np.sqrt((wave**2).mean())
    return saturate(wave)
