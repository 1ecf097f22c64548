"""Whatever bytes come, the parsers answer with a value or with their own error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sip_peer import OUR_SDP, SDP, TCP, UDP, Caller, new_agent

from offhook.sip.agent import UserAgent
from offhook.sip.content import UnsupportedContentError, session_description
from offhook.sip.errors import SdpError, SipParseError
from offhook.sip.framing import StreamFramer
from offhook.sip.header import parse_cseq, parse_name_addr, parse_params, parse_value, parse_via, split_values
from offhook.sip.message import Request, parse_message
from offhook.sip.refer import read_sipfrag
from offhook.sip.sdp import LocalMedia, make_offer, negotiate, parse_sdp, read_answer
from offhook.sip.uri import parse_uri

TORTURE = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "data" / "rfc4475").glob("*.dat"))]
SEEDS = [*TORTURE, Caller().invite(), Caller(to_tag="x").request("BYE"), Caller(to_tag="x").ack()]
SYNTAX = st.sampled_from([*" \t;,<>\"\\=:@?%[]./()'\r\n\0", "sip:", "SIP/2.0", "tag", "branch=z9hG4bK", "é", "\udcff"])
TEXT = st.lists(SYNTAX | st.text(max_size=4), max_size=30).map("".join)
LOCAL_MEDIA = LocalMedia(("192.0.2.1", 4000))


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A real message with a few bytes changed, cut out or doubled."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at : at + 1] = draw(st.binary(max_size=3))
            case 1:
                del data[at : at + draw(st.integers(1, 40))]
            case 2:
                data[at:at] = data[at : at + draw(st.integers(1, 60))]
            case _:
                data[at:at] = draw(TEXT).encode("utf-8", "surrogateescape")
    return bytes(data)


def refusal_of(read: Callable[[], Any]) -> SipParseError | None:
    """The error that reading raises, None when it does not; any other exception fails the test."""
    try:
        read()
    except SipParseError as error:
        return error
    return None


READERS: list[Callable[[str], Any]] = [
    parse_name_addr,
    parse_via,
    parse_cseq,
    parse_params,
    split_values,
    parse_value,
    parse_uri,
]


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@given(text=TEXT)
def test_header_readers_raise_nothing_but_their_error(reader: Callable[[str], Any], text: str) -> None:
    refusal = refusal_of(lambda: reader(text))
    assert refusal is None or refusal.status == 400


@given(data=mutated(SEEDS) | st.binary(max_size=300), stream=st.booleans())
def test_message_reader_raises_nothing_but_its_error(data: bytes, stream: bool) -> None:
    refusal = refusal_of(lambda: parse_message(data, stream=stream))
    if refusal is not None:
        assert refusal.status in (0, 400, 413, 505, 513)
        assert not {"\r", "\n"} & set(refusal.reason)
        return
    message = parse_message(data, stream=stream)
    for name, value in message.headers:
        assert not {"\r", "\n"} & set(name + value)
    try:
        session_description(message)
    except UnsupportedContentError:
        pass


@given(data=mutated(SEEDS))
def test_writing_a_message_and_reading_it_again_keeps_headers_and_body(data: bytes) -> None:
    try:
        message = parse_message(data)
    except SipParseError:
        return
    try:
        again = parse_message(message.encode())
    except SipParseError as error:
        # The body of a datagram was cut by a Content-Length that is still there; nothing else may fail.
        raise AssertionError(f"{error.reason}: {message.encode()!r}") from error
    assert again.headers == message.headers
    assert again.body == message.body
    if isinstance(message, Request):
        assert isinstance(again, Request)
        assert (again.method, again.uri) == (message.method, message.uri)


@given(data=mutated([SDP, OUR_SDP, make_offer(LOCAL_MEDIA)]) | st.binary(max_size=200))
def test_description_readers_raise_nothing_but_their_error(data: bytes) -> None:
    for reader in (parse_sdp, lambda raw: negotiate(raw, LOCAL_MEDIA), lambda raw: read_answer(LOCAL_MEDIA, raw)):
        try:
            reader(data)
        except SdpError:
            pass


@given(offer=mutated([SDP, make_offer(LOCAL_MEDIA)]))
def test_every_answer_has_the_lines_of_its_offer(offer: bytes) -> None:
    try:
        answer = negotiate(offer, LOCAL_MEDIA).answer
    except SdpError:
        return
    assert [media.kind for media in parse_sdp(answer).media] == [media.kind for media in parse_sdp(offer).media]


@given(data=mutated([b"SIP/2.0 200 OK\r\n", b"SIP/2.0 100 Trying"]) | st.binary(max_size=60))
def test_sipfrag_reader_never_raises(data: bytes) -> None:
    report = read_sipfrag(data)
    assert report is None or 100 <= report[0] <= 699


@given(pieces=st.lists(st.sampled_from(SEEDS) | mutated(SEEDS) | st.just(b"\r\n\r\n"), max_size=6), data=st.data())
def test_any_split_of_a_stream_gives_the_same_messages(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    whole = StreamFramer()
    expected = whole.feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    split, got = StreamFramer(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += split.feed(stream[start:end])
    assert got == expected
    assert (split.broken is None) == (whole.broken is None)
    assert split.pending_bytes == whole.pending_bytes


def exercise(agent: UserAgent, now: float) -> None:
    """Touch every leg the way a host would."""
    for leg in agent.legs:
        agent.ring(leg, now) if leg.invite is not None else None
        agent.hang_up(leg, now)


@given(messages=st.lists(mutated(SEEDS), max_size=8), tcp=st.booleans())
def test_agent_survives_mutated_messages_and_leaks_nothing(messages: list[bytes], tcp: bool) -> None:
    agent = new_agent()
    now = 0.0
    for data in messages:
        agent.receive(data, TCP if tcp else UDP, now)
        exercise(agent, now)
        now += 0.05
    for _ in range(300):
        deadline = agent.next_deadline()
        if deadline is None:
            break
        now = max(now, deadline)
        agent.advance(now)
    assert now < 200
    assert agent.is_idle
