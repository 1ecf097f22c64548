"""ITU-T G.711: mu-law and A-law by table, for one stream or for a batch of calls.

The tables follow the bit-exact reference of ITU-T G.191 (the software tool library): samples are 16-bit with the 14 or
13 bits of the Recommendation left-justified, and negative samples are mapped by their one's complement.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from offhook.audio.pcm import Samples

RATE_HZ: Final = 8000


class Codec(enum.IntEnum):
    """The two laws; the value is the static RTP payload type (RFC 3551 section 6, table 4)."""

    PCMU = 0
    PCMA = 8

    @property
    def silence(self) -> bytes:
        """The one byte that decodes to the sample nearest to zero."""
        return b"\xff" if self is Codec.PCMU else b"\xd5"


_Integers: TypeAlias = npt.NDArray[np.int64]


def _mu_law_decoding() -> Samples:
    code: _Integers = ~np.arange(256) & 0xFF
    exponent = code >> 4 & 7
    magnitude = ((code & 15) << 3) + 0x84 << exponent
    return np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84).astype(np.int16)


def _a_law_decoding() -> Samples:
    code: _Integers = np.arange(256) ^ 0x55
    exponent = code >> 4 & 7
    mantissa = ((code & 15) << 4) + 8
    magnitude = np.where(exponent == 0, mantissa, mantissa + 0x100 << np.maximum(exponent, 1) - 1)
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _mu_law_encoding() -> npt.NDArray[np.uint8]:
    sample: _Integers = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int64)
    magnitude: _Integers = np.minimum((np.where(sample < 0, ~sample, sample) >> 2) + 33, 0x1FFF)
    exponent = np.floor(np.log2(magnitude)).astype(np.int64) - 5
    code = exponent << 4 | magnitude >> exponent + 1 & 15
    return (~(code | np.where(sample < 0, 0x80, 0)) & 0xFF).astype(np.uint8)


def _a_law_encoding() -> npt.NDArray[np.uint8]:
    sample: _Integers = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int64)
    magnitude: _Integers = np.where(sample < 0, ~sample, sample) >> 4
    exponent = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int64) - 3, 0)
    mantissa = np.where(exponent == 0, magnitude, magnitude >> np.maximum(exponent, 1) - 1) & 15
    return ((exponent << 4 | mantissa | np.where(sample < 0, 0, 0x80)) ^ 0x55).astype(np.uint8)


_DECODING: Final = {Codec.PCMU: _mu_law_decoding(), Codec.PCMA: _a_law_decoding()}
_ENCODING: Final = {Codec.PCMU: _mu_law_encoding(), Codec.PCMA: _a_law_encoding()}
_DECODING_OF_BOTH: Final = np.concatenate([_DECODING[Codec.PCMU], _DECODING[Codec.PCMA]])


def decode(payload: bytes | bytearray | memoryview, codec: Codec) -> Samples:
    """Decode a payload of any length: one byte, one sample."""
    return _DECODING[codec].take(np.frombuffer(payload, dtype=np.uint8))


def encode(samples: Samples, codec: Codec) -> bytes:
    """Encode samples: one sample, one byte."""
    return _ENCODING[codec].take(samples.view(np.uint16)).tobytes()


def decode_rows(payloads: npt.NDArray[np.uint8], codecs: npt.NDArray[np.integer]) -> Samples:
    """Decode ``(n, k)`` bytes of n calls at once; ``codecs`` holds the payload type (0 or 8) of each row."""
    law = (codecs != Codec.PCMU).astype(np.int32) << 8
    samples: Samples = _DECODING_OF_BOTH.take(payloads + law[:, None])
    return samples


def translate(payload: bytes, source: Codec, target: Codec) -> bytes:
    """Recode a payload from one law to the other (ITU-T G.711 tables 3 and 4); the same law costs nothing."""
    return payload if source is target else payload.translate(_TRANSLATION[target])


_TRANSLATION: Final = {
    Codec.PCMA: encode(_DECODING[Codec.PCMU], Codec.PCMA),
    Codec.PCMU: encode(_DECODING[Codec.PCMA], Codec.PCMU),
}
