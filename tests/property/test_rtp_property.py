"""Whatever bytes come, the parsers answer or refuse; whatever is written is read back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rtp_writer import build_rtp

from offhook.rtp.packet import RtpError, RtpPacket, parse_rtp
from offhook.rtp.reception import Reception
from offhook.rtp.rtcp import (
    ControlPacket,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpError,
    SenderReport,
    SourceDescription,
    build_rtcp,
    parse_rtcp,
)
from offhook.rtp.source import SourceGuard
from offhook.rtp.telephone_event import DIGITS, EventReceiver, EventSender

u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
packets = st.builds(
    RtpPacket,
    st.integers(0, 127),
    st.booleans(),
    u16,
    u32,
    u32,
    st.binary(max_size=200),
    st.lists(u32, max_size=15).map(tuple),
    st.none()
    | st.tuples(u16, st.integers(0, 5).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words))),
)
blocks = st.lists(
    st.builds(ReportBlock, u32, st.integers(0, 255), st.integers(-(2**23), 2**23 - 1), u32, u32, u32, u32), max_size=31
).map(tuple)
controls: st.SearchStrategy[ControlPacket] = st.one_of(
    st.builds(SenderReport, u32, st.integers(0, 2**64 - 1), u32, u32, u32, blocks),
    st.builds(ReceiverReport, u32, blocks),
    st.builds(SourceDescription, st.lists(st.tuples(u32, st.binary(max_size=255)), max_size=31).map(tuple)),
    st.builds(Goodbye, st.lists(u32, max_size=31).map(tuple), st.binary(max_size=255)),
)


@given(packets, st.integers(0, 255))
def test_a_written_packet_is_read_back(packet: RtpPacket, padding_bytes: int) -> None:
    assert parse_rtp(build_rtp(packet, padding_bytes=padding_bytes)) == packet


@settings(max_examples=500)
@given(st.binary(max_size=120))
def test_any_bytes_are_rtp_or_refused(data: bytes) -> None:
    try:
        packet = parse_rtp(data)
    except RtpError:
        return
    assert len(packet.payload) <= len(data) - 12


@given(packets, st.data())
def test_a_packet_with_bytes_changed_or_cut_is_read_or_refused(packet: RtpPacket, data: st.DataObject) -> None:
    mutated = bytearray(build_rtp(packet))
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, min(len(mutated) - 1, 24)))] = data.draw(st.integers(0, 255))
    try:
        parse_rtp(bytes(mutated[: data.draw(st.integers(0, len(mutated)))]))
    except RtpError:
        pass


@given(st.lists(controls, min_size=1, max_size=5))
def test_written_control_packets_are_read_back(compound: list[ControlPacket]) -> None:
    assert parse_rtcp(build_rtcp(compound)) == compound


@settings(max_examples=500)
@given(st.lists(controls, min_size=1, max_size=3), st.data())
def test_control_packets_with_bytes_changed_are_read_or_refused(
    compound: list[ControlPacket], data: st.DataObject
) -> None:
    mutated = bytearray(build_rtcp(compound))
    for _ in range(data.draw(st.integers(0, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_rtcp(bytes(mutated[: data.draw(st.integers(0, len(mutated)))]))
    except RtcpError:
        return
    assert len(parsed) <= 64


@given(st.lists(st.tuples(u16, st.none() | u32, u32), max_size=60))
def test_any_stream_makes_a_report_that_fits_its_fields(stream: list[tuple[int, int | None, int]]) -> None:
    reception = Reception(1, stream[0][0] if stream else 0)
    for sequence, timestamp, now_ticks in stream:
        reception.packet(sequence, timestamp, now_ticks)
    build_rtcp([ReceiverReport(1, (reception.report(1.0),))])
    block = reception.report(2.0)
    assert 0 <= block.fraction_lost <= 255


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(DIGITS), st.integers(1, 3000)), min_size=1, max_size=8),
    u32,
    st.randoms(use_true_random=False),
    st.floats(0, 0.6),
)
def test_keys_are_heard_once_and_in_order_whatever_is_lost(
    presses: list[tuple[str, int]], timestamp: int, random: object, loss: float
) -> None:
    """Loss takes packets, but never all of one press."""
    receiver = EventReceiver()
    heard = ""
    for digit, duration in presses:
        sender = EventSender(digit, duration)
        sent = []
        while (packet := sender.next()) is not None:
            sent += [(packet.payload, timestamp + packet.timestamp_offset & 0xFFFFFFFF)] * packet.copies
        kept = [each for each in sent if random.random() >= loss] or [random.choice(sent)]  # type: ignore[attr-defined]
        heard += "".join(receiver.receive(payload, stamp) or "" for payload, stamp in kept)
        timestamp += duration + 800
    assert heard == "".join(digit for digit, _ in presses)


@given(st.lists(st.tuples(st.binary(max_size=8), u32), max_size=30))
def test_any_event_payload_is_a_key_or_nothing(payloads: list[tuple[bytes, int]]) -> None:
    receiver = EventReceiver()
    for payload, timestamp in payloads:
        digit = receiver.receive(payload, timestamp)
        assert digit is None or digit in DIGITS


@given(st.lists(st.integers(0, 4), max_size=60))
def test_sound_only_ever_comes_from_where_is_sent_to(senders: list[int]) -> None:
    guard = SourceGuard(("192.0.2.0", 4000))
    for sender in senders:
        address = (f"192.0.2.{sender}", 4000)
        if guard.accept(address):
            assert guard.target == address
