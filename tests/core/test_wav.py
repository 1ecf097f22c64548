"""WAV files in and out, and what is wrong with those that are refused."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.pcm import PcmError, from_bytes, interleave, saturate, to_bytes
from offhook.audio.wav import WavError, read_wav, write_wav

RAMP = np.arange(-500, 500, dtype=np.int16)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
def test_the_standard_library_reads_what_is_written(rate_hz: int) -> None:
    stereo = interleave(RAMP, RAMP[::-1])
    with wave.open(io.BytesIO(write_wav(stereo, rate_hz))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, rate_hz, 2)
        assert file.readframes(2000) == to_bytes(stereo)


def test_what_the_standard_library_wrote_is_read() -> None:
    memory = io.BytesIO()
    with wave.open(memory, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", "not compressed"))
        file.writeframes(to_bytes(RAMP))
    read = read_wav(memory.getvalue())
    assert read.rate_hz == 16000
    assert np.array_equal(read.mono, RAMP)


def test_other_chunks_and_odd_sizes_are_stepped_over() -> None:
    plain = write_wav(RAMP, 8000)
    data = plain[:12] + struct.pack("<4sI", b"LIST", 3) + b"abc\0" + plain[12:]
    assert np.array_equal(read_wav(data).mono, RAMP)


@pytest.mark.parametrize(("tag", "codec"), [(7, g711.Codec.PCMU), (6, g711.Codec.PCMA)])
def test_g711_files_are_read(tag: int, codec: g711.Codec) -> None:
    body = g711.encode(RAMP, codec)
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 0, b"WAVE", b"fmt ", 16, tag, 1, 8000, 8000, 1, 8)
    data = head + struct.pack("<4sI", b"data", len(body)) + body
    assert np.array_equal(read_wav(data).mono, g711.decode(body, codec))


def test_a_stream_of_unknown_length_is_read_to_its_end() -> None:
    plain = bytearray(write_wav(RAMP, 8000))
    plain[40:44] = b"\xff\xff\xff\xff"
    assert np.array_equal(read_wav(bytes(plain)).mono, RAMP)


def test_a_file_cut_in_the_middle_of_a_sample_is_read_as_far_as_it_goes() -> None:
    assert len(read_wav(write_wav(RAMP, 8000)[:-3]).mono) == len(RAMP) - 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no RIFF"),
        (b"RIFF\0\0\0\0WAVE", "no data chunk"),
        (write_wav(RAMP, 8000)[:12] + write_wav(RAMP, 8000)[36:], "before their format"),
        (write_wav(RAMP, 8000)[:20] + b"\x03" + write_wav(RAMP, 8000)[21:], "WAV format 3"),
        (write_wav(RAMP, 8000)[:22] + b"\x06" + write_wav(RAMP, 8000)[23:], "6 channels"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0\0\0\0\0", "cut short"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(data: bytes, message: str) -> None:
    with pytest.raises(WavError, match=message):
        read_wav(data)


def test_channels_of_different_length_are_padded() -> None:
    stereo = interleave(np.array([1, 2, 3], dtype=np.int16), np.array([9], dtype=np.int16))
    assert stereo.tolist() == [[1, 9], [2, 0], [3, 0]]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(PcmError, match="even number"):
        from_bytes(b"abc")


def test_bytes_and_samples_are_the_same_thing() -> None:
    assert to_bytes(from_bytes(b"\x01\x00\xff\xff")) == b"\x01\x00\xff\xff"
    assert from_bytes(b"\x01\x00\xff\xff").tolist() == [1, -1]


def test_too_loud_samples_are_clipped() -> None:
    assert saturate(np.array([40000.0, -40000.0, 0.6])).tolist() == [32767, -32768, 1]
