"""RTP and RTCP on the wire, bit by bit."""

from __future__ import annotations

import pytest
from tests.rtp_writer import build_rtp

from offhook.rtp.packet import RtpError, RtpPacket, is_rtcp, parse_rtp, signed_16, signed_32, voice_packet
from offhook.rtp.reception import Reception, ntp_time, round_trip_s
from offhook.rtp.rtcp import (
    Goodbye,
    OtherControl,
    ReceiverReport,
    ReportBlock,
    RtcpError,
    SenderReport,
    SourceDescription,
    build_rtcp,
    parse_rtcp,
)

PLAIN = bytes.fromhex("80 00 0001 000000a0 deadbeef") + b"\xff" * 160


def test_a_plain_packet_is_read() -> None:
    assert parse_rtp(PLAIN) == RtpPacket(0, False, 1, 160, 0xDEADBEEF, b"\xff" * 160)


def test_a_header_with_everything_in_it_is_read() -> None:
    data = bytes.fromhex("b2 e5 fffe ffffffff 00000001 0000000a 0000000b bede0001 11223344") + b"hello" + b"\0\0\3"
    packet = parse_rtp(data)
    assert packet == RtpPacket(
        0x65, True, 0xFFFE, 0xFFFFFFFF, 1, b"hello", (10, 11), (0xBEDE, bytes.fromhex("11223344"))
    )
    assert build_rtp(packet, padding_bytes=3) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PLAIN[:11],
        b"\x40" + PLAIN[1:],  # Version 1.
        b"\x00" + PLAIN[1:],
        b"\x8f" + PLAIN[1:30],  # Fifteen contributing sources in 18 bytes.
        b"\x90" + PLAIN[1:14],  # An extension of two bytes.
        b"\x90" + PLAIN[1:12] + b"\xbe\xde\x00\x40" + b"\0" * 20,  # An extension longer than the packet.
        b"\xa0" + PLAIN[1:-1] + b"\x00",  # Padding of no bytes.
        b"\xa0" + PLAIN[1:-1] + b"\xc0",  # More padding than packet.
    ],
)
def test_what_is_not_rtp_is_refused(data: bytes) -> None:
    with pytest.raises(RtpError):
        parse_rtp(data)


def test_a_packet_of_nothing_but_padding_is_empty() -> None:
    assert parse_rtp(b"\xa0" + PLAIN[1:12] + b"\0\0\0\4").payload == b""


def test_the_quick_way_to_write_gives_the_same_bytes() -> None:
    packet = RtpPacket(8, True, 65535, 2**32 - 1, 7, b"abc")
    assert voice_packet(8, True, 65535, 2**32 - 1, 7, b"abc") == build_rtp(packet)


def test_rtcp_is_told_from_rtp_on_one_port() -> None:
    assert is_rtcp(build_rtcp([ReceiverReport(1)]))
    assert not is_rtcp(PLAIN)
    assert not is_rtcp(voice_packet(101, True, 1, 1, 1, b"abcd"))
    assert not is_rtcp(b"\x80")


def test_differences_go_across_the_wrap() -> None:
    assert signed_16(2 - 65534) == 4
    assert signed_16(65534 - 2) == -4
    assert signed_32(0x10 - 0xFFFFFFF0) == 0x20
    assert signed_32(0xFFFFFFF0 - 0x10) == -0x20


BLOCK = ReportBlock(0xCAFE, 64, -3, 0x0001FFFF, 12, 0xAABBCCDD, 65536)


def test_a_compound_of_every_kind_goes_there_and_back() -> None:
    packets = [
        SenderReport(1, 2**63 + 5, 160, 50, 8000, (BLOCK, BLOCK)),
        SourceDescription(((1, b"a@b"), (2, b""))),
        ReceiverReport(3, (BLOCK,)),
        OtherControl(206),
        Goodbye((1, 2), b"hung up"),
    ]
    assert parse_rtcp(build_rtcp(packets)) == packets


def test_a_sender_report_has_the_layout_of_the_rfc() -> None:
    data = bytes.fromhex("80c80006 00000001 0000000200000003 00000004 00000005 00000006")
    assert parse_rtcp(data) == [SenderReport(1, (2 << 32) + 3, 4, 5, 6)]


def test_other_items_of_a_description_are_stepped_over() -> None:
    data = bytes.fromhex("81ca0005 00000009 0603 616263 0101 78 0804 01020304 00")
    data += bytes(-len(data) % 4)
    assert parse_rtcp(data) == [SourceDescription(((9, b"x"),))]


def test_padding_at_the_end_is_taken_off() -> None:
    data = bytes.fromhex("a1cb0002 00000007 00000004")
    assert parse_rtcp(data) == [Goodbye((7,))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\xc9\x00",
        bytes.fromhex("80c90002 00000001"),  # Longer than the datagram.
        bytes.fromhex("81c90001 00000001"),  # A block that is not there.
        bytes.fromhex("80c80001 00000001"),  # No room for the sender's part.
        bytes.fromhex("83cb0001 00000001"),
        bytes.fromhex("81ca0002 00000001 01ff6162"),
        bytes.fromhex("40c90001 00000001"),  # Version 1.
        bytes.fromhex("80480001 00000001"),  # Not a control packet's type.
        bytes.fromhex("a0c90001 00000000"),  # Padding of none.
        bytes.fromhex("a0c90001 00000001 80c90001 00000001"),  # Padding in the middle.
        bytes.fromhex("80c0 0000") * 100,  # More packets than are read.
    ],
)
def test_what_is_not_rtcp_is_refused(data: bytes) -> None:
    with pytest.raises(RtcpError):
        parse_rtcp(data)


def test_loss_is_reported_for_the_interval_and_for_all_time() -> None:
    reception = Reception(5, 65530)
    for index in range(20):
        if index not in {3, 4, 5, 6, 7}:
            reception.packet(65530 + index & 0xFFFF, index * 160, index * 160)
    block = reception.report(0.0)
    assert (block.fraction_lost, block.cumulative_lost) == (64, 5)
    assert block.highest_sequence == 65549
    for index in range(20, 40):
        reception.packet(65530 + index & 0xFFFF, index * 160, index * 160)
    block = reception.report(0.0)
    assert (block.fraction_lost, block.cumulative_lost) == (0, 5)


def test_duplicates_make_loss_negative_and_the_fraction_zero() -> None:
    reception = Reception(5, 1)
    for sequence in (1, 2, 2, 2, 3):
        reception.packet(sequence, None, 0)
    block = reception.report(0.0)
    assert (block.fraction_lost, block.cumulative_lost) == (0, -2)


def test_jitter_follows_the_formula_of_the_rfc() -> None:
    reception = Reception(5, 0)
    jitter = 0.0
    last = None
    for index, late in enumerate([0, 40, 8, 160, 0, 0, 24]):
        reception.packet(index, index * 160, index * 160 + late)
        if last is not None:
            jitter += (abs(late - last) - jitter) / 16
        last = late
    assert reception.jitter == pytest.approx(jitter)
    steady = reception.jitter
    reception.packet(7, None, 99999)
    assert reception.jitter == steady


def test_a_restart_counts_from_anew_after_two_in_a_row() -> None:
    reception = Reception(5, 10)
    reception.packet(10, 0, 0)
    reception.packet(30000, 0, 0)
    assert reception.highest == 10
    reception.packet(30001, 0, 0)
    assert (reception.expected, reception.received, reception.lost) == (1, 1, 0)


def test_the_round_trip_is_what_is_left_after_the_other_side_waited() -> None:
    ours = Reception(1, 0)
    sent_at, heard_at, answered_at, back_at = 100.0, 100.030, 102.5, 102.560
    ours.sender_report(ntp_time(sent_at), heard_at)
    block = ours.report(answered_at)
    assert round_trip_s(block, back_at) == pytest.approx(0.090, abs=1e-3)


def test_a_report_about_nothing_or_from_the_future_gives_no_round_trip() -> None:
    assert round_trip_s(Reception(1, 0).report(5.0), 6.0) is None
    ours = Reception(1, 0)
    ours.sender_report(ntp_time(50.0), 50.0)
    assert round_trip_s(ours.report(51.0), 40.0) is None
