"""G.711 against a reference that is written out bit by bit from ITU-T G.711 and G.191."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.g711 import Codec


def mu_law_encoded(sample: int) -> int:
    """ITU-T G.191 ulaw_compress: 14 bits, bias 33, one's complement of negative samples."""
    magnitude = ((~sample if sample < 0 else sample) >> 2) + 33
    magnitude = min(magnitude, 0x1FFF)
    segment = 1
    rest = magnitude >> 6
    while rest:
        segment += 1
        rest >>= 1
    code = (8 - segment) << 4 | 15 - (magnitude >> segment & 15)
    return code | (0x80 if sample >= 0 else 0)


def a_law_encoded(sample: int) -> int:
    """ITU-T G.191 alaw_compress: 12 magnitude bits, even bits inverted."""
    code = (~sample if sample < 0 else sample) >> 4
    if code > 15:
        exponent = 1
        while code > 31:
            code >>= 1
            exponent += 1
        code = code - 16 + (exponent << 4)
    return (code | (0x80 if sample >= 0 else 0)) ^ 0x55


def mu_law_decoded(code: int) -> int:
    """ITU-T G.191 ulaw_expand."""
    sign = -1 if code < 0x80 else 1
    inverted = ~code
    exponent = inverted >> 4 & 7
    step = 4 << exponent + 1
    return sign * ((0x80 << exponent) + step * (inverted & 15) + step // 2 - 4 * 33)


def a_law_decoded(code: int) -> int:
    """ITU-T G.191 alaw_expand."""
    value = (code ^ 0x55) & 0x7F
    exponent = value >> 4
    mantissa = value & 15
    if exponent:
        mantissa += 16
    mantissa = (mantissa << 4) + 8
    if exponent > 1:
        mantissa <<= exponent - 1
    return mantissa if code > 127 else -mantissa


ENCODERS = {Codec.PCMU: mu_law_encoded, Codec.PCMA: a_law_encoded}
DECODERS = {Codec.PCMU: mu_law_decoded, Codec.PCMA: a_law_decoded}
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


@pytest.mark.parametrize("codec", list(Codec))
def test_every_sample_is_encoded_as_the_reference_does(codec: Codec) -> None:
    encoded = g711.encode(EVERY_SAMPLE, codec)
    assert encoded == bytes(ENCODERS[codec](int(sample)) for sample in EVERY_SAMPLE)


@pytest.mark.parametrize("codec", list(Codec))
def test_every_code_is_decoded_as_the_reference_does(codec: Codec) -> None:
    decoded = g711.decode(bytes(range(256)), codec)
    assert decoded.dtype == np.int16
    assert decoded.tolist() == [DECODERS[codec](code) for code in range(256)]


@pytest.mark.parametrize(
    ("codec", "code", "sample"),
    [
        # Table 2a/G.711 in 16 bits: the outermost values, the smallest steps and the two zeros.
        (Codec.PCMU, 0x80, 32124), (Codec.PCMU, 0x00, -32124), (Codec.PCMU, 0xFF, 0), (Codec.PCMU, 0x7F, 0),
        (Codec.PCMU, 0xFE, 8), (Codec.PCMU, 0x7E, -8),
        # Table 1a/G.711: no zero, plus and minus eight instead.
        (Codec.PCMA, 0xAA, 32256), (Codec.PCMA, 0x2A, -32256), (Codec.PCMA, 0xD5, 8), (Codec.PCMA, 0x55, -8),
    ],
)  # fmt: skip
def test_anchor_values_of_the_recommendation(codec: Codec, code: int, sample: int) -> None:
    assert g711.decode(bytes([code]), codec)[0] == sample


@pytest.mark.parametrize("codec", list(Codec))
def test_decoding_and_encoding_again_keeps_every_code(codec: Codec) -> None:
    codes = bytes(range(256))
    again = g711.encode(g711.decode(codes, codec), codec)
    if codec is Codec.PCMU:  # Negative zero decodes to the same sample as positive zero.
        codes = codes.replace(b"\x7f", b"\xff")
    assert again == codes


def test_the_silent_byte_decodes_to_the_sample_nearest_to_zero() -> None:
    for codec in Codec:
        assert abs(int(g711.decode(codec.silence, codec)[0])) <= 8


def test_a_batch_of_mixed_laws_equals_each_row_alone() -> None:
    random = np.random.default_rng(1)
    rows = random.integers(0, 256, (5, 160)).astype(np.uint8)
    codecs = np.array([Codec.PCMU, Codec.PCMA, Codec.PCMA, Codec.PCMU, Codec.PCMA])
    decoded = g711.decode_rows(rows, codecs)
    assert decoded.dtype == np.int16
    for row, payload, codec in zip(decoded, rows, codecs, strict=True):
        assert np.array_equal(row, g711.decode(payload.tobytes(), Codec(codec)))


def test_a_strided_view_is_decoded_like_its_copy() -> None:
    stereo = np.arange(-200, 200, dtype=np.int16).reshape(-1, 2)
    assert g711.encode(stereo[:, 0], Codec.PCMU) == g711.encode(stereo[:, 0].copy(), Codec.PCMU)


def test_recoding_between_the_laws_is_decoding_and_encoding() -> None:
    codes = bytes(range(256))
    for source, target in ((Codec.PCMU, Codec.PCMA), (Codec.PCMA, Codec.PCMU)):
        assert g711.translate(codes, source, target) == g711.encode(g711.decode(codes, source), target)
        assert g711.translate(codes, source, source) is codes
