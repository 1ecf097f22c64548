"""The voice's network: phonemes in, sound out, and when each phoneme ends.

The network decides how long every phoneme lasts and then draws their spectrum. The lengths are an inner value of its
graph; they are made an output of it here. In an ONNX file (protocol buffers, onnx.proto3), a message that comes twice
is merged with the first one: a second ``graph`` (field 7 of the model) at the end of the file, that holds nothing but
one more ``output`` (field 12 of the graph) with a ``name`` (field 1), is all it takes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offhook.errors import ConfigError
from offhook.model.local.voices import assets

RATE_HZ: Final = 24000

# The running sum of the phonemes' lengths, in steps of 25 ms; a spectrum is drawn for every half step.
_ENDS: Final = b"/CumSum_output_0"
_STEP_SAMPLES: Final = 600
_FRAME_SAMPLES: Final = 300
# Measured: what belongs to a phoneme is heard about this long before its share of the time (the network's windows
# look ahead). Without it, cuts between words catch the onset of the next one three times as often as they lose an end.
_LEAD_SAMPLES: Final = 600
# Under this, the voice's source counts as unvoiced; a lowered melody must not fall silent where it creaks.
_LOWEST_VOICED_HZ: Final = 40.0
_LOWEST_PITCH_HZ: Final = 52.0
# The network opens every sentence with a third of a second of silence, which is not worth drawing; a soft onset
# may begin this long before its phoneme.
_ONSET_FRAMES: Final = 8


@dataclass(frozen=True, slots=True)
class Drawn:
    """Sound, and the sample at which each phoneme ends; the first one begins at ``start_sample``."""

    wave: npt.NDArray[np.float32]
    start_sample: int
    ends: npt.NDArray[np.int64]


class Acoustic:
    """One voice, loaded."""

    def __init__(self, network: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                network + _one_more_output(_ENDS), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # The run-time's errors have no common type.
            raise ConfigError("voice", f"cannot be loaded: {error}") from error
        self._synthesize = import_module("hibari.dsp").synth
        vocabulary = json.loads((assets.folder() / "vocab.json").read_text(encoding="utf-8"))
        self._numbers: dict[str, int] = vocabulary
        self._hiss = _Hiss()
        self.alphabet = frozenset(self._numbers)
        """The phonemes that it speaks."""

    def draw(self, phonemes: str, melody: float = 1.0, pace: float = 1.0) -> Drawn:
        """Speak phonemes of ``alphabet``; ``melody`` multiplies the pitch, ``pace`` (roughly) the speed."""
        numbers = [0, *(self._numbers[phoneme] for phoneme in phonemes), 0]
        feed = {"ids": np.array([numbers], np.int64), "speed": np.array([pace], np.float32)}
        *parts, pitch_hz, steps = self._session.run(None, feed)
        ends = steps.reshape(-1) * _STEP_SAMPLES
        skipped = max(int(ends[0]) // _FRAME_SAMPLES - _ONSET_FRAMES, 0)
        pitch_hz = pitch_hz[0, skipped:]
        if melody != 1.0:
            moved = np.maximum(pitch_hz * np.float32(melody), np.float32(_LOWEST_PITCH_HZ))
            pitch_hz = np.where(pitch_hz > _LOWEST_VOICED_HZ, moved, pitch_hz)
        wave = self._synthesize(*(part[0, :, skipped:] for part in parts), pitch_hz, self._hiss)
        ends = np.maximum(ends - skipped * _FRAME_SAMPLES - _LEAD_SAMPLES, 0)
        return Drawn(wave, int(ends[0]), ends[1:-1])


class _Hiss:
    """The noise in the voice, in the place of a random generator: drawn once, and the same for the same words.

    It lies some 70 dB under the speech, so nobody hears it come round again; drawing it anew is a fifth of the work.
    """

    _COLUMNS: Final = 1024
    _ROWS: Final = 601

    def __init__(self) -> None:
        self._drawn = np.random.default_rng(0).standard_normal((self._ROWS, self._COLUMNS), dtype=np.float32)

    def standard_normal(self, shape: tuple[int, int], dtype: object) -> npt.NDArray[np.float32]:
        del dtype
        rows, columns = shape
        return np.take(self._drawn[:rows], np.arange(columns) % self._COLUMNS, axis=1)


def _one_more_output(name: bytes) -> bytes:
    def message(field: int, inner: bytes | Sequence[int]) -> bytes:
        return bytes([field << 3 | 2, len(inner), *inner])  # Shorter than 128 bytes: the length is one byte.

    return message(7, message(12, message(1, name)))
