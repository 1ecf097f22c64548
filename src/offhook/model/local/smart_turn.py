"""Smart Turn v3 as a detector of turn ends: a small network that hears intonation and hesitation, not words.

Its weights (BSD-2-Clause, 8.7 MB of ONNX) come with the package ``pipecat-ai``, of which only this file is read, or
from a path. It hears the last 8 s as Whisper's log-mel spectrogram of a sound of mean 0 and variance 1, filled up with
silence at its beginning (facts from its model card).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np

from offhook.audio.pcm import Samples
from offhook.audio.resample import resample
from offhook.errors import ConfigError
from offhook.model.local.whisper.features import FRAMES_A_SECOND, RATE_HZ, Floats, log_mel
from offhook.model.turn_end import HEARD_S

_PACKAGE: Final = "pipecat"
_FILE: Final = "audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx"
_INSTALL: Final = "pip install --no-deps pipecat-ai==1.14.0, or give the path: smart-turn:/PATH/smart-turn-v3.onnx"
_LENGTH: Final = int(HEARD_S * RATE_HZ)
_LEAST_VARIANCE: Final = 1e-7


class SmartTurn:
    """The network, loaded."""

    name = "smart-turn"

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError("--turn-detector", "needs onnxruntime", "pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise ConfigError("--turn-detector", f"cannot read {path}: {error.strerror}") from None
        except Exception as error:  # The run-time's errors have no common type.
            raise ConfigError("--turn-detector", f"{path} cannot be loaded: {error}") from error

    def probability(self, samples: Samples, rate_hz: int) -> float:
        """Return how probable it is that the turn is over."""
        (outputs,) = self._session.run(None, {"input_features": features(samples, rate_hz)[None]})
        return float(np.ravel(outputs)[0])


def features(samples: Samples, rate_hz: int) -> Floats:
    """Return what the network hears: ``(80, 800)``."""
    sound = resample(samples, rate_hz, RATE_HZ)[-_LENGTH:].astype(np.float32) / 32768
    whole = np.zeros(_LENGTH, np.float32)
    whole[_LENGTH - len(sound) :] = sound
    whole = (whole - whole.mean()) / np.sqrt(whole.var() + np.float32(_LEAST_VARIANCE))
    return log_mel(whole, int(HEARD_S * FRAMES_A_SECOND))


def smart_turn(path: str = "") -> SmartTurn:
    """Return the detector, from a file or from the installed package. Raises ConfigError."""
    return SmartTurn(Path(path).expanduser() if path else _installed())


def _installed() -> Path:
    # The package's own __init__ imports half of the world; only its file is wanted.
    spec = importlib.util.find_spec(_PACKAGE)
    path = Path(spec.submodule_search_locations[0]) / _FILE if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        raise ConfigError("--turn-detector", "smart-turn is not installed", _INSTALL)
    return path
