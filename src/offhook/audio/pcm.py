"""Linear 16-bit samples and the bytes that carry them."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from offhook.errors import LocalError

Samples: TypeAlias = npt.NDArray[np.int16]

FULL_SCALE: Final = 32768.0
"""The magnitude that 0 dBFS refers to."""


class PcmError(LocalError):
    """Bytes that cannot be 16-bit samples."""


def from_bytes(data: bytes | bytearray | memoryview) -> Samples:
    """Read little-endian 16-bit samples without copying; an odd number of bytes is a `PcmError`."""
    if len(data) % 2:
        raise PcmError(f"16-bit audio has an even number of bytes, not {len(data)}")
    return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)


def to_bytes(samples: Samples) -> bytes:
    """Write samples as little-endian 16-bit bytes."""
    return samples.astype("<i2", copy=False).tobytes()


def saturate(samples: npt.NDArray[np.floating]) -> Samples:
    """Round real-valued samples to 16 bits; what lies beyond full scale is clipped, never wrapped."""
    rounded: npt.NDArray[np.floating] = np.rint(samples)
    np.minimum(rounded, 32767, out=rounded)
    np.maximum(rounded, -32768, out=rounded)
    return rounded.astype(np.int16)


def silence(count: int) -> Samples:
    """Return ``count`` samples of digital silence."""
    return np.zeros(count, dtype=np.int16)


def interleave(left: Samples, right: Samples) -> Samples:
    """Join two channels into an ``(n, 2)`` array; the shorter one is padded with silence."""
    stereo = np.zeros((max(len(left), len(right)), 2), dtype=np.int16)
    stereo[: len(left), 0] = left
    stereo[: len(right), 1] = right
    return stereo
