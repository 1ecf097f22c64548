"""The clips that a caller may hear while something is worked on: WAV files of one folder, known by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from offhook.audio.pcm import Samples
from offhook.audio.resample import RATES_HZ, resample_whole
from offhook.audio.wav import WavError, read_wav
from offhook.errors import ConfigError

RATE_HZ: Final = 8000
# All of them are in memory, a minute is 1 MB. Sessions name them, so the names are simple, and no paths.
MAX_CLIPS: Final = 100
MAX_CLIP_S: Final = 120
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def load_clips(folder: Path | None) -> Mapping[str, Samples]:
    """Return the clips of a folder at 8 kHz by their names without ``.wav``. Raises ConfigError with what to mend."""
    if folder is None:
        return {}
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav")
    except OSError as failure:
        raise ConfigError("--clips", f"cannot read {folder}: {failure.strerror}") from None
    if len(paths) > MAX_CLIPS:
        raise ConfigError("--clips", f"{folder} holds {len(paths)} clips", f"leave {MAX_CLIPS} of them there")
    return {path.stem: _load(path) for path in paths}


def _load(path: Path) -> Samples:
    if not _NAME.fullmatch(path.stem):
        raise ConfigError("--clips", f"'{path.name}' is no name for a clip", "use letters, digits, _ and - alone")
    try:
        wav = read_wav(path.read_bytes())
    except OSError as failure:
        raise ConfigError("--clips", f"cannot read {path}: {failure.strerror}") from None
    except WavError as failure:
        raise ConfigError("--clips", f"{path}: {failure}", "give 16-bit WAV") from None
    if wav.rate_hz not in RATES_HZ:
        raise ConfigError("--clips", f"{path} has {wav.rate_hz} Hz", f"it may be {', '.join(map(str, RATES_HZ))}")
    if not 0 < len(wav.samples) <= MAX_CLIP_S * wav.rate_hz:
        raise ConfigError("--clips", f"{path} is empty, or longer than {MAX_CLIP_S} s")
    return resample_whole(wav.mono, wav.rate_hz, RATE_HZ)
