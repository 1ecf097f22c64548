"""Reading and writing SIP messages and their header fields."""

from __future__ import annotations

import time

import pytest

from offhook.sip.errors import SipParseError
from offhook.sip.header import (
    parse_cseq,
    parse_name_addr,
    parse_params,
    parse_value,
    parse_via,
    split_values,
)
from offhook.sip.message import Request, Response, parse_message, read_tag
from offhook.sip.uri import OtherUri, SipUri, TelUri, parse_uri

OPTIONS = (
    b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\n"
    b"Call-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
)


def test_request_is_read_into_its_parts() -> None:
    message = parse_message(OPTIONS)
    assert isinstance(message, Request)
    assert (message.method, message.uri, message.call_id, message.cseq) == ("OPTIONS", "sip:a@b", "x", 1)
    assert (message.from_tag, message.to_tag) == ("1", "")
    assert message.via is not None
    assert message.via.branch == "z9hG4bK1"
    assert message.encode() == OPTIONS


def test_response_is_read_into_its_parts() -> None:
    message = parse_message(OPTIONS.replace(b"OPTIONS sip:a@b SIP/2.0", b"SIP/2.0 404 Nobody, really"))
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.method) == (404, "Nobody, really", "OPTIONS")
    assert message.encode().startswith(b"SIP/2.0 404 Nobody, really\r\n")


def test_bare_line_feeds_are_tolerated() -> None:
    message = parse_message(OPTIONS.replace(b"\r\n", b"\n"))
    assert isinstance(message, Request)
    assert message.call_id == "x"


@pytest.mark.parametrize("line", [b"X: a\nInjected: 1", b"X: a\rb", b"X: a\r\n\tfolded", b"X: a  "])
def test_no_value_holds_a_line_break(line: bytes) -> None:
    message = parse_message(OPTIONS.replace(b"Call-ID", line + b"\r\nCall-ID"))
    for name, value in message.headers:
        assert not {"\r", "\n"} & set(name + value)
        assert value == value.strip(" \t")


@pytest.mark.parametrize("uri", [b"sip:a\nX:1", b"sip:a\rb", b"sip:a\tb"])
def test_request_uri_holds_no_line_break(uri: bytes) -> None:
    with pytest.raises(SipParseError):
        parse_message(OPTIONS.replace(b"sip:a@b SIP", uri + b" SIP"))


def test_body_is_cut_to_content_length() -> None:
    assert parse_message(OPTIONS[:-2] + b"Content-Length: 3\r\n\r\nabcdef").body == b"abc"
    assert parse_message(OPTIONS + b"all of it").body == b"all of it"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n", b"", "Missing Via header"),
        (b"Via: SIP", b"Via: SIPS", "Malformed Via header"),
        (b"From: <sip:c@d>;tag=1\r\n", b"", "Missing From header"),
        (b"From: <sip:c@d>;tag=1", b"From: <>;tag=1", "Malformed From header"),
        (b"To: <sip:a@b>", b'To: "a" b" <sip:a@b>', "Malformed To header"),
        (b"Call-ID: x", b"Call-ID:", "Missing Call-ID header"),
        (b"CSeq: 1 OPTIONS", b"CSeq: 2147483648 OPTIONS", "CSeq number out of range"),
        (b"CSeq: 1 OPTIONS", b"CSeq: one OPTIONS", "Malformed CSeq header"),
        (b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE", "CSeq method does not match"),
        (b"Call-ID: x", b"Call-ID: x\r\nCall-ID: y", "Multiple Call-ID headers"),
        (b"Call-ID: x", b"Call-ID: x\r\nMax-Forwards: 256", "Malformed Max-Forwards header"),
        (b"Call-ID: x", b"Call-ID: x\r\nno colon here", "Header line without a name"),
        (b"Call-ID: x", b"Call-ID: x\r\nb@d: 1", "Header line without a name"),
        (b"Call-ID: x", b"Call-ID: x\r\nSubject", "Header line without a name"),
        (b"Call-ID: x", b"Call-ID: x\r\nRoute: <sip:x>\r\nRoute", "Header line without a name"),
    ],
)
def test_bad_request_says_which_header(old: bytes, new: bytes, reason: str) -> None:
    assert old in OPTIONS
    with pytest.raises(SipParseError) as refused:
        parse_message(OPTIONS.replace(old, new))
    assert (refused.value.status, refused.value.reason) == (400, reason)
    assert isinstance(refused.value.partial, Request)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\xff" * 50, b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\nx", b"\0" * 20, b" SIP/2.0"]
)
def test_what_is_no_sip_message_deserves_no_answer(data: bytes) -> None:
    with pytest.raises(SipParseError) as refused:
        parse_message(data)
    assert refused.value.status == 0


def test_header_block_above_64_kb_is_refused() -> None:
    with pytest.raises(SipParseError) as refused:
        parse_message(OPTIONS.replace(b"Call-ID", b"X: " + b"x" * 65536 + b"\r\nCall-ID"))
    assert refused.value.status == 513


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ("<sip:a@b>;tag=x", "x"),
        ("<sip:a@b>", ""),
        ("sip:a@b;tag=x", "x"),
        ("sip:a@b", ""),
        ('"A;tag=no" <sip:a@b;tag=no>;tag=x', "x"),
        ('"A \\" ;tag=no" <sip:a@b>;tag=x', "x"),
        ('"A" <sip:a@b>', ""),
        ("A B <sip:a@b> ; TAG = x", "x"),
        ("<sip:a@b>;other;tag=x;more", "x"),
        ('<sip:a@b>;q="tag=no";tag=x', "x"),
        ("<sip:a@b;x=>;tag=x", "x"),
    ],
)
def test_tag_is_found_where_it_belongs(value: str, tag: str) -> None:
    assert read_tag(value, "From") == tag


def test_name_addr_in_both_forms() -> None:
    named = parse_name_addr('"Bob \\"B\\"" <sip:bob@b;x=1?h=2>;expires=3;q="a;b"')
    assert (named.display, named.uri) == ('Bob "B"', "sip:bob@b;x=1?h=2")
    assert named.params == (("expires", "3"), ("q", "a;b"))
    bare = parse_name_addr("sip:bob@b;expires=3")
    assert (bare.uri, bare.param("expires")) == ("sip:bob@b", "3")


@pytest.mark.parametrize("text", ["", "<>", "<sip:a@b", "sip:a b", '"open <sip:a@b>', "<sip:a@b> junk", "<sip:a <b>>"])
def test_broken_name_addr_is_refused(text: str) -> None:
    with pytest.raises(SipParseError):
        parse_name_addr(text)


@pytest.mark.parametrize(
    ("text", "address", "branch"),
    [
        ("SIP/2.0/UDP h;branch=z9hG4bK1", ("h", 5060), "z9hG4bK1"),
        ("SIP / 2.0 / TCP  H.example : 5070 ; BRANCH = z9 ; rport", ("h.example", 5070), "z9"),
        ("SIP/2.0/UDP [2001:db8::1]:5070;rport", ("2001:db8::1", 5070), ""),
        ("SIP/2.0/UDP [2001:db8::1]", ("2001:db8::1", 5060), ""),
        ("SIP/2.0/TLS h:0", ("h", 5060), ""),
    ],
)
def test_via(text: str, address: tuple[str, int], branch: str) -> None:
    via = parse_via(text)
    assert (via.address, via.branch) == (address, branch)


@pytest.mark.parametrize(
    "text", ["", "SIP/2.0/UDP", "SIP/2.0/UDP ;branch=1", "SIP/3.0/UDP h", "SIP/2.0/UDP h;;x", "UDP h"]
)
def test_broken_via_is_refused(text: str) -> None:
    with pytest.raises(SipParseError):
        parse_via(text)


def test_lists_are_split_outside_quotes_and_brackets() -> None:
    assert split_values('<sip:a,b@c>;x="1,2", "q,\\",r" <sip:d>,,  e') == [
        '<sip:a,b@c>;x="1,2"',
        '"q,\\",r" <sip:d>',
        "e",
    ]
    assert split_values("") == []
    assert split_values('"never closed, <sip:a@b>') == ['"never closed, <sip:a@b>']


def test_values_with_parameters() -> None:
    state = parse_value("Terminated;Reason=noresource;retry-after=5")
    assert (state.value, state.param("reason")) == ("terminated", "noresource")
    assert parse_params('a;b=;c="x\\"y"') == (("a", None), ("b", ""), ("c", 'x"y'))
    assert parse_cseq("0009   INVITE") == (9, "INVITE")


def test_sip_uri_is_taken_apart_and_written_back() -> None:
    text = "sip:user;par=u%40x:pw@[2001:db8::1]:5070;transport=tls;transport=tls;lr?Subject=x"
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    assert (uri.user, uri.host, uri.port) == ("user;par=u%40x:pw", "2001:db8::1", 5070)
    assert uri.param("transport") == "tls"
    assert uri.param("lr") == ""
    assert uri.param("maddr") is None
    assert str(uri) == text
    assert parse_uri("sip:caf%C3%A9@b").unescaped_user == "café"  # type: ignore[union-attr]


def test_other_uris() -> None:
    assert parse_uri("TEL:+1-555;phone-context=x") == TelUri("+1-555", (("phone-context", "x"),))
    assert parse_uri("mailto:a@b") == OtherUri("mailto", "a@b")


@pytest.mark.parametrize("text", ["", "a@b", "sip:", "sip:@", "sip:a@b:99999", "sip:a@b:x", "tel:", "sip:a@b c", ":x"])
def test_broken_uri_is_refused(text: str) -> None:
    with pytest.raises(SipParseError):
        parse_uri(text)


HOSTILE = [
    '"' * 30_000,
    '"\\' * 15_000,
    "<" * 30_000,
    "a=" + " " * 30_000 + '"',
    ";" * 30_000,
    ";a" * 15_000,
    " " * 30_000 + "x",
    "," * 30_000,
    '",<' * 10_000,
    "SIP/2.0/UDP " + ":" * 30_000,
    "SIP/2.0/UDP h" + " " * 30_000 + "x",
    "1" * 30_000 + " X",
    "sip:" + "a" * 15_000 + "@" * 15_000,
    "\t \t" * 10_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_cost_linear_time(text: str) -> None:
    """A quadratic reader needs over a minute of CPU for one of these; the bound is a hundred times what they take."""
    started = time.process_time()
    for reader in (parse_name_addr, parse_via, parse_cseq, parse_params, split_values, parse_value, parse_uri):
        try:
            reader(text)
        except SipParseError:
            pass
    head = OPTIONS.replace(b"Call-ID", b"X: " + text.encode() + b"\r\nCall-ID")
    for data in (head, OPTIONS.replace(b"sip:a@b SIP", text.encode() + b" SIP"), head.replace(b"X:", b"X:\r\n ")):
        try:
            parse_message(data)
        except SipParseError:
            pass
    assert time.process_time() - started < 5
