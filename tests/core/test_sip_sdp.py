"""Offers and answers of one audio stream (RFC 3264, RFC 8866)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from offhook.sip.errors import NoCommonCodec, SdpError
from offhook.sip.sdp import (
    Direction,
    LocalMedia,
    Negotiated,
    answer_offer,
    make_offer,
    negotiate,
    parse_sdp,
    read_answer,
    read_offer,
)

LOCAL = LocalMedia(("192.0.2.1", 4000), session_id=77)
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"


def offer(*lines: str, head: str = HEAD) -> bytes:
    return (head + "".join(f"{line}\r\n" for line in lines)).encode("utf-8", "surrogateescape")


def answer_lines(result: Negotiated) -> list[str]:
    return result.answer.decode().split("\r\n")[:-1]


def test_answer_to_an_ordinary_offer() -> None:
    result = negotiate(
        offer("m=audio 6000 RTP/AVP 0 8 18 101", "a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15", "a=ptime:20"),
        LOCAL,
    )
    assert answer_lines(result) == [
        "v=0",
        "o=- 77 1 IN IP4 192.0.2.1",
        "s=-",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "m=audio 4000 RTP/AVP 0 101",
        "a=rtpmap:0 PCMU/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-16",
        "a=ptime:20",
        "a=sendrecv",
    ]
    assert (result.codec, result.payload_type, result.event_payload_type) == ("PCMU", 0, 101)
    assert result.remote_rtp == ("192.0.2.10", 6000)
    assert result.remote_rtcp == ("192.0.2.10", 6001)
    assert (result.send, result.receive, result.rtcp_mux) == (True, True, False)


def test_our_order_of_codecs_decides() -> None:
    both = offer("m=audio 6000 RTP/AVP 0 8")
    assert negotiate(both, LOCAL).codec == "PCMU"
    assert negotiate(both, replace(LOCAL, codecs=("PCMA", "PCMU"))).codec == "PCMA"
    assert negotiate(offer("m=audio 6000 RTP/AVP 8"), LOCAL).codec == "PCMA"


def test_codecs_under_dynamic_numbers() -> None:
    result = negotiate(
        offer(
            "m=audio 6000 RTP/AVP 96 97 98",
            "a=rtpmap:96 opus/48000/2",
            "a=rtpmap:97 pcma/8000/1",
            "a=rtpmap:98 Telephone-Event/8000",
        ),
        LOCAL,
    )
    assert (result.codec, result.payload_type, result.event_payload_type) == ("PCMA", 97, 98)
    assert "m=audio 4000 RTP/AVP 97 98" in answer_lines(result)
    assert "a=rtpmap:97 PCMA/8000" in answer_lines(result)


def test_static_number_with_another_meaning_is_not_our_codec() -> None:
    with pytest.raises(NoCommonCodec):
        negotiate(offer("m=audio 6000 RTP/AVP 0", "a=rtpmap:0 PCMU/16000"), LOCAL)


def test_every_line_is_answered_in_order_and_unused_ones_get_port_0() -> None:
    result = negotiate(
        offer(
            "m=video 7000 RTP/AVP 31 32",
            "m=audio 5000 RTP/SAVP 0",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x",
            "m=audio 6000 RTP/AVP 0",
            "m=audio 6100 RTP/AVP 0",
            "m=image 8000 udptl t38",
            "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        ),
        LOCAL,
    )
    media = parse_sdp(result.answer).media
    assert [(m.kind, m.port, m.profile) for m in media] == [
        ("video", 0, "RTP/AVP"),
        ("audio", 0, "RTP/SAVP"),
        ("audio", 4000, "RTP/AVP"),
        ("audio", 0, "RTP/AVP"),
        ("image", 0, "UDPTL"),
        ("application", 0, "UDP/DTLS/SCTP"),
    ]
    assert media[0].formats == ("31", "32")
    assert result.remote_rtp == ("192.0.2.10", 6000)


@pytest.mark.parametrize(
    "line",
    [
        "m=audio 6000 RTP/AVP 18",
        "m=audio 6000 RTP/SAVP 0",
        "m=audio 6000 RTP/SAVPF 0",
        "m=audio 6000 UDP/TLS/RTP/SAVPF 0",
        "m=audio 0 RTP/AVP 0",
        "m=video 6000 RTP/AVP 0",
        "m=audio 6000 RTP/AVP",
    ],
)
def test_nothing_in_common(line: str) -> None:
    with pytest.raises(NoCommonCodec):
        negotiate(offer(line), LOCAL)


def test_offer_without_media_has_no_codec_in_common() -> None:
    with pytest.raises(NoCommonCodec):
        negotiate(offer(), LOCAL)


@pytest.mark.parametrize(
    ("theirs", "ours", "answered", "send", "receive"),
    [
        ("sendrecv", "sendrecv", "sendrecv", True, True),
        ("sendonly", "sendrecv", "recvonly", False, True),
        ("recvonly", "sendrecv", "sendonly", True, False),
        ("inactive", "sendrecv", "inactive", False, False),
        ("sendrecv", "sendonly", "sendonly", True, False),
        ("sendonly", "sendonly", "inactive", False, False),
        ("recvonly", "recvonly", "inactive", False, False),
    ],
)
def test_direction(theirs: Direction, ours: Direction, answered: str, send: bool, receive: bool) -> None:
    result = negotiate(offer("m=audio 6000 RTP/AVP 0", f"a={theirs}"), replace(LOCAL, direction=ours))
    assert answer_lines(result)[-1] == f"a={answered}"
    assert (result.send, result.receive) == (send, receive)


def test_direction_of_the_session_holds_until_the_media_says_otherwise() -> None:
    head = HEAD + "a=sendonly\r\n"
    assert not negotiate(offer("m=audio 6000 RTP/AVP 0", head=head), LOCAL).send
    assert negotiate(offer("m=audio 6000 RTP/AVP 0", "a=sendrecv", head=head), LOCAL).send


def test_old_hold_with_a_zero_address() -> None:
    result = negotiate(offer("m=audio 6000 RTP/AVP 0", "c=IN IP4 0.0.0.0"), LOCAL)
    assert (result.send, result.receive, result.remote_rtp) == (False, True, None)
    assert answer_lines(result)[-1] == "a=recvonly"
    assert negotiate(offer("m=audio 6000 RTP/AVP 0", "c=IN IP4 0.0.0.0", "a=inactive"), LOCAL).receive is False


def test_address_of_the_media_wins_over_the_sessions() -> None:
    result = negotiate(offer("m=audio 6000 RTP/AVP 0", "c=IN IP4 192.0.2.99"), LOCAL)
    assert result.remote_rtp == ("192.0.2.99", 6000)


def test_ipv6() -> None:
    head = "v=0\r\no=- 1 1 IN IP6 2001:db8::10\r\ns=-\r\nc=IN IP6 2001:db8::10\r\nt=0 0\r\n"
    result = negotiate(offer("m=audio 6000 RTP/AVP 0", head=head), replace(LOCAL, address=("2001:db8::1", 4000)))
    assert result.remote_rtp == ("2001:db8::10", 6000)
    assert "c=IN IP6 2001:db8::1" in answer_lines(result)


def test_a_caller_without_an_address_may_be_sent_to_once_it_is_heard() -> None:
    result = negotiate(offer("m=audio 6000 RTP/AVP 0", head="v=0\r\ns=-\r\n"), LOCAL)
    assert (result.remote_rtp, result.send, result.held) == (None, True, False)


@pytest.mark.parametrize(
    "host",
    [
        "media.carrier.example",  # A lookup would hold up the audio of every call.
        "\udcff\udcfe",
        "münchen.example",
        "224.2.17.12",
        "ff02::1",
        "2001:db8::10",  # Not to be reached from a socket for IPv4.
        "fe80::1%eth0",
        "0x7f.1",
        "127.1",
        "1" * 10_000,
        "::" + "1" * 10_000,
    ],
    ids=lambda host: ascii(host[:20]),
)
def test_what_is_no_address_of_one_host_is_never_sent_to(host: str) -> None:
    head = f"v=0\r\no=- 1 1 IN IP4 x\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    result = negotiate(offer("m=audio 6000 RTP/AVP 0", head=head), LOCAL)
    assert (result.remote_rtp, result.remote_rtcp, result.send) == (None, None, True)
    reports = negotiate(offer("m=audio 6000 RTP/AVP 0", f"a=rtcp:7001 IN IP4 {host}"), LOCAL)
    assert (reports.remote_rtp, reports.remote_rtcp) == (("192.0.2.10", 6000), ("192.0.2.10", 7001))
    assert read_answer(LOCAL, offer("m=audio 6000 RTP/AVP 0", head=head)).remote_rtp is None


def test_ipv6_is_written_the_way_that_packets_bring_it() -> None:
    head = "v=0\r\ns=-\r\nc=IN IP6 2001:DB8:0:0::10\r\nt=0 0\r\n"
    result = negotiate(offer("m=audio 6000 RTP/AVP 0", head=head), replace(LOCAL, address=("2001:db8::1", 4000)))
    assert result.remote_rtp == ("2001:db8::10", 6000)


def test_rtcp_port_and_address_of_rfc_3605() -> None:
    assert negotiate(offer("m=audio 6000 RTP/AVP 0", "a=rtcp:7001"), LOCAL).remote_rtcp == ("192.0.2.10", 7001)
    other = negotiate(offer("m=audio 6000 RTP/AVP 0", "a=rtcp:7001 IN IP4 192.0.2.88"), LOCAL)
    assert other.remote_rtcp == ("192.0.2.88", 7001)


def test_our_odd_rtcp_port_is_told() -> None:
    result = negotiate(offer("m=audio 6000 RTP/AVP 0"), replace(LOCAL, rtcp_port=4711))
    assert "a=rtcp:4711 IN IP4 192.0.2.1" in answer_lines(result)
    assert b"a=rtcp:" not in negotiate(offer("m=audio 6000 RTP/AVP 0"), replace(LOCAL, rtcp_port=4001)).answer


def test_rtcp_mux_is_taken_when_offered_and_only_then() -> None:
    muxed = negotiate(offer("m=audio 6000 RTP/AVP 0", "a=rtcp-mux"), LOCAL)
    assert muxed.rtcp_mux
    assert muxed.remote_rtcp == ("192.0.2.10", 6000)
    assert "a=rtcp-mux" in answer_lines(muxed)
    plain = negotiate(offer("m=audio 6000 RTP/AVP 0"), LOCAL)
    assert not plain.rtcp_mux
    refused = negotiate(offer("m=audio 6000 RTP/AVP 0", "a=rtcp-mux"), replace(LOCAL, rtcp_mux=False))
    assert not refused.rtcp_mux
    assert b"rtcp-mux" not in refused.answer


@pytest.mark.parametrize("lines", [[], ["a=ptime:30"], ["a=ptime:x"], ["a=maxptime:10"]])
def test_our_packet_time_is_told_whatever_the_peer_prefers(lines: list[str]) -> None:
    assert "a=ptime:20" in answer_lines(negotiate(offer("m=audio 6000 RTP/AVP 0", *lines), LOCAL))


def test_version_counts_only_when_our_description_changes() -> None:
    local = LOCAL
    first = negotiate(offer("m=audio 6000 RTP/AVP 0"), local)
    local = local.after(first.answer)
    same = negotiate(offer("m=audio 6000 RTP/AVP 0", "a=ptime:20"), local)
    assert same.answer == first.answer
    held = negotiate(offer("m=audio 6000 RTP/AVP 0", "a=sendonly"), local)
    assert (first.version, same.version, held.version) == (1, 1, 2)
    assert b"o=- 77 2 IN IP4 192.0.2.1" in held.answer
    local = local.after(held.answer)
    assert negotiate(offer("m=audio 6000 RTP/AVP 0"), local).version == 3


def test_offer_and_its_answer() -> None:
    made = make_offer(LOCAL)
    assert b"m=audio 4000 RTP/AVP 0 8 101\r\n" in made
    assert b"a=rtcp-mux\r\n" in made
    theirs = negotiate(made, LocalMedia(("192.0.2.10", 6000)))
    result = read_answer(LOCAL, theirs.answer)
    assert (result.codec, result.payload_type, result.event_payload_type) == ("PCMU", 0, 101)
    assert result.remote_rtp == ("192.0.2.10", 6000)
    assert (result.send, result.receive, result.rtcp_mux) == (True, True, True)
    assert result.answer == b""


def test_answer_that_holds_us() -> None:
    result = read_answer(LOCAL, offer("m=audio 6000 RTP/AVP 8", "a=recvonly"))
    assert (result.codec, result.send, result.receive) == ("PCMA", True, False)


@pytest.mark.parametrize("line", ["m=audio 0 RTP/AVP 0", "m=audio 6000 RTP/AVP 18", "m=video 6000 RTP/AVP 0"])
def test_answer_that_refuses_the_stream(line: str) -> None:
    with pytest.raises(NoCommonCodec):
        read_answer(LOCAL, offer(line))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"v=1\r\n",
        b"hello",
        HEAD.encode() + b"m=audio\r\n",
        HEAD.encode() + b"m=audio x RTP/AVP 0\r\n",
        HEAD.encode() + b"m=audio 70000 RTP/AVP 0\r\n",
        HEAD.encode() + b"m=audio 6000 RTP/AVP 0\r\n" * 33,
        b"v=0\r\n" + b"a=x\r\n" * 3000,
        b"v=0\r\n" + b"a=" + b"x" * 70_000,
    ],
)
def test_unusable_descriptions(data: bytes) -> None:
    with pytest.raises(SdpError):
        parse_sdp(data)


def test_line_ends_and_unknown_lines_are_tolerated() -> None:
    loose = offer("m=audio 6000 RTP/AVP 0", "b=AS:64", "k=clear:x", "nonsense", "=", "a", "i=x").replace(b"\r\n", b"\n")
    assert negotiate(loose, LOCAL).codec == "PCMU"


def test_description_of_the_torture_set_is_read() -> None:
    result = negotiate(
        b"v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n"
        b"m=audio 49217 RTP/AVP 0 12\r\nm=video 3227 RTP/AVP 31\r\na=rtpmap:31 LPC\r\n",
        LOCAL,
    )
    assert result.remote_rtp == ("192.0.2.4", 49217)
    assert len(parse_sdp(result.answer).media) == 2


def test_an_offer_that_was_read_once_is_answered_from_any_port() -> None:
    read = read_offer(offer("m=video 7000 RTP/AVP 31", "m=audio 6000 RTP/AVP 8 0", "m=audio 6002 RTP/AVP 0"))
    for port in (4000, 4002):
        result = answer_offer(read, replace(LOCAL, address=("192.0.2.1", port)))
        lines = [line for line in answer_lines(result) if line.startswith("m=")]
        assert lines == ["m=video 0 RTP/AVP 31", f"m=audio {port} RTP/AVP 0", "m=audio 0 RTP/AVP 0"]


def test_an_offer_without_the_one_codec_we_want_is_refused_though_it_was_read() -> None:
    read = read_offer(offer("m=audio 6000 RTP/AVP 0"))
    with pytest.raises(NoCommonCodec):
        answer_offer(read, replace(LOCAL, codecs=("PCMA",)))


@pytest.mark.parametrize(
    ("line", "codec"),
    [
        ("a=rtpmap: 96 pcma/8000/1", "PCMA"),
        ("a=rtpmap:96 PCMA", "PCMA"),
        ("a=RTPMAP:96 PCMA/8000", "PCMA"),
        ("a=rtpmap:96 PCMA/16000", None),
        ("a=rtpmap:x PCMA/8000", None),
        ("a=rtpmap:", None),
    ],
)
def test_rtpmaps_are_read_tolerantly(line: str, codec: str | None) -> None:
    if codec is None:
        with pytest.raises(NoCommonCodec):
            read_offer(offer("m=audio 6000 RTP/AVP 96", line))
    else:
        assert negotiate(offer("m=audio 6000 RTP/AVP 96", line), LOCAL).codec == codec


def test_of_contradictory_directions_the_most_reluctant_counts() -> None:
    assert negotiate(offer("m=audio 6000 RTP/AVP 0", "a=sendrecv", "a=inactive"), LOCAL).receive is False
