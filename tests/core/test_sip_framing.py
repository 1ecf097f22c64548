"""Cutting a stream into messages."""

from __future__ import annotations

import pytest

from offhook.sip.framing import PING, StreamFramer
from offhook.sip.limits import MAX_HEADER_BYTES

HEAD = b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1\r\n"


def message(body: bytes = b"", length: bytes | None = None) -> bytes:
    return HEAD + b"Content-Length: " + (length or str(len(body)).encode()) + b"\r\n\r\n" + body


def test_messages_one_after_the_other() -> None:
    one, two = message(b"abc"), message(b"\r\n\r\nOPTIONS")
    assert StreamFramer().feed(one + two) == [one, two]


def test_byte_by_byte() -> None:
    data = message(b"abc") + PING + message()
    framer = StreamFramer()
    cut = [piece for index in range(len(data)) for piece in framer.feed(data[index : index + 1])]
    assert cut == [message(b"abc"), PING, message()]
    assert framer.pending_bytes == 0


@pytest.mark.parametrize("line", [b"l:3", b"L  : 3", b"content-LENGTH:\t3", b"Content-Length:\r\n 3", b"l: 3 "])
def test_content_length_in_every_spelling(line: bytes) -> None:
    whole = HEAD + line + b"\r\n\r\nabc"
    assert StreamFramer().feed(whole + b"rest") == [whole]


def test_ping_and_lone_break() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n") == []
    assert framer.feed(b"\r\n") == [PING]
    assert framer.feed(b"\r\n" + message()) == [message()], "a lone break before a message is nothing"
    assert framer.feed(b"\r\n\r\n\r\n\r\n") == [PING, PING]


@pytest.mark.parametrize("length", [b"", b"-1", b"x", b"99999999999999999", b"1048577", b"1 1"])
def test_unusable_content_length_ends_the_stream_after_the_head(length: bytes) -> None:
    framer = StreamFramer()
    bad = HEAD + b"Content-Length: " + length + b"\r\n\r\n"
    assert framer.feed(message() + bad + message()) == [message(), bad]
    assert framer.broken
    assert framer.feed(message()) == []


def test_missing_content_length_ends_the_stream() -> None:
    framer = StreamFramer()
    assert framer.feed(HEAD + b"\r\n") == [HEAD + b"\r\n"]
    assert framer.broken


def test_two_different_content_lengths_end_the_stream() -> None:
    framer = StreamFramer()
    framer.feed(HEAD + b"Content-Length: 1\r\nl: 2\r\n\r\nxx")
    assert framer.broken


def test_folded_text_cannot_pose_as_content_length() -> None:
    whole = HEAD + b"Subject: x\r\n Content-Length: 9\r\nContent-Length: 0\r\n\r\n"
    assert StreamFramer().feed(whole) == [whole]


def test_endless_header_is_given_up_at_64_kb() -> None:
    framer = StreamFramer()
    for _ in range(MAX_HEADER_BYTES // 1024 + 1):
        assert framer.feed(b"x" * 1024) == []
    assert framer.broken
    assert framer.pending_bytes == 0


def test_header_block_just_above_the_limit_is_given_up_even_when_it_is_whole() -> None:
    framer = StreamFramer()
    assert framer.feed(HEAD + b"X: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n") == []
    assert framer.broken
