"""HTTP/1.1 answers in any pieces, and the ends of connections."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.client import limits
from offhook.client.http1 import AnswerReader, BrokenAnswerError, encode_request
from offhook.client.request import Request

SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Request-Id: req_1\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def read(*pieces: bytes) -> AnswerReader:
    reader = AnswerReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


@given(whole=st.sampled_from([SIZED, CHUNKED, INTERIM]), cuts=st.sets(st.integers(1, 90)))
def test_an_answer_is_the_same_in_any_pieces(whole: bytes, cuts: set[int]) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    reader = read(*(whole[start:end] for start, end in pairwise(edges)))
    assert (reader.done, reader.reusable, reader.status, reader.take_body()) == (True, True, 200, b"hello")
    assert "link" not in reader.headers
    assert "x-trailer" not in reader.headers


def test_a_connection_carries_one_answer_after_the_other() -> None:
    reader = read(SIZED)
    for status, whole, body in ((200, CHUNKED, b"hello"), (204, EMPTY, b""), (200, SIZED, b"hello")):
        reader.begin()
        reader.feed(whole)
        assert (reader.done, reader.reusable, reader.status, reader.take_body()) == (True, True, status, body)


@pytest.mark.parametrize(
    "header", [b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", SIZED.replace(b"X-R", b"Connection: close\r\nX-R")]
)
def test_a_connection_that_will_close_is_not_used_again(header: bytes) -> None:
    reader = read(header)
    assert reader.done
    assert not reader.reusable


def test_the_end_of_the_connection_ends_a_body_without_a_length() -> None:
    reader = read(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo")
    assert not reader.done
    reader.end()
    assert reader.done
    assert not reader.reusable
    assert reader.take_body() == b"hello"


@pytest.mark.parametrize("part", [b"", SIZED[:10], SIZED[:-1], CHUNKED[:-5], b"HTTP/1.1 103 Early Hints\r\n\r\n"])
def test_a_connection_that_ends_too_soon_is_an_error(part: bytes) -> None:
    reader = read(part) if part else AnswerReader()
    with pytest.raises(BrokenAnswerError, match="closed the connection"):
        reader.end()


@pytest.mark.parametrize(
    "data",
    [
        b"SIP/2.0 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(BrokenAnswerError):
        read(data)


def test_what_follows_an_answer_unasked_does_not_spoil_it_but_the_connection() -> None:
    reader = AnswerReader()
    reader.feed(SIZED + b"garbage that is no answer\r\n\r\n")
    assert (reader.done, reader.reusable, reader.take_body()) == (True, False, b"hello")


EVIL = b"HTTP/1.1 500 Evil\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nEVIL"


@pytest.mark.parametrize(
    "second",
    [
        EVIL,
        EVIL[:20],
        EVIL[:-2],
        EVIL.replace(b"500 Evil", b"103 Hints"),
        b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
def test_two_answers_in_one_segment_are_not_merged_into_one(second: bytes) -> None:
    for first in (SIZED, CHUNKED):
        reader = AnswerReader()
        reader.feed(first + second)
        assert (reader.done, reader.reusable, reader.status, reader.take_body()) == (True, False, 200, b"hello")
        assert "x-evil" not in reader.headers


def feed_for_ever(start: bytes, piece: bytes) -> None:
    reader = read(start)
    for _ in range(1000):
        reader.feed(piece)


def test_headers_without_end_are_cut_off() -> None:
    with pytest.raises(BrokenAnswerError, match="too many headers"):
        feed_for_ever(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 1024)
    with pytest.raises(BrokenAnswerError, match="too many headers"):
        feed_for_ever(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n" * 100)


def test_a_body_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_BODY_BYTES", 10_000)
    with pytest.raises(BrokenAnswerError, match="too large"):
        feed_for_ever(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 1000)


@given(st.binary(max_size=200))
def test_anything_at_all_is_an_answer_or_an_error(data: bytes) -> None:
    reader = AnswerReader()
    try:
        reader.feed(data)
        reader.end()
    except BrokenAnswerError as failure:
        assert str(failure).isprintable()


def test_a_request_is_written_as_it_stands() -> None:
    request = Request("POST", "http://x", "/v1/a?b=c", {"host": "x", "accept": "*/*"}, b"{}")
    assert (
        encode_request(request) == b"POST /v1/a?b=c HTTP/1.1\r\nhost: x\r\naccept: */*\r\ncontent-length: 2\r\n\r\n{}"
    )
