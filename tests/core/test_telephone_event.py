"""Keys pressed, over lines that lose, copy and delay, from carriers that leave things out."""

from __future__ import annotations

import pytest

from offhook.rtp.telephone_event import (
    DIGITS,
    EventReceiver,
    EventSender,
    TelephoneEvent,
    build_event,
    parse_event,
)


def press(code: int, timestamp: int, duration: int = 800) -> list[tuple[bytes, int]]:
    """The packets of a key press of 100 ms, the end three times."""
    steps = [TelephoneEvent(code, False, 10, ticks) for ticks in range(160, duration, 160)]
    steps += [TelephoneEvent(code, True, 10, duration)] * 3
    return [(build_event(step), timestamp) for step in steps]


def digits(packets: list[tuple[bytes, int]]) -> str:
    receiver = EventReceiver()
    return "".join(receiver.receive(payload, timestamp) or "" for payload, timestamp in packets)


def test_the_layout_is_that_of_the_rfc() -> None:
    assert parse_event(bytes.fromhex("0b8a0320")) == TelephoneEvent(11, True, 10, 800)
    assert build_event(TelephoneEvent(11, True, 10, 800)) == bytes.fromhex("0b8a0320")
    assert parse_event(b"\x01\x02\x03") is None


@pytest.mark.parametrize("code", range(16))
def test_every_key_is_heard_once(code: int) -> None:
    assert digits(press(code, 1000)) == DIGITS[code]


def test_digits_lost_when_the_carrier_omits_the_marker_bit() -> None:
    # The receiver is not even told of the marker: four presses, four digits.
    assert digits(press(1, 0) + press(2, 2000) + press(2, 4000) + press(3, 6000)) == "1223"


@pytest.mark.parametrize("kept", range(7))
def test_any_single_packet_of_a_press_is_enough(kept: int) -> None:
    assert digits([press(5, 1000)[kept]]) == "5"


def test_a_press_whose_end_never_came_does_not_hide_the_next() -> None:
    assert digits(press(5, 1000)[:2] + press(5, 3000)) == "55"


def test_late_copies_of_an_older_press_do_not_count_again() -> None:
    first, second = press(1, 1000), press(2, 3000)
    assert digits([*first[:5], *second[:3], first[5], first[6], *second[3:]]) == "12"


def test_a_key_held_for_half_a_minute_is_one_digit() -> None:
    packets = []
    sender = EventSender("7", 30 * 8000)
    while (packet := sender.next()) is not None:
        packets += [(packet.payload, 500 + packet.timestamp_offset)] * packet.copies
    assert {timestamp for _, timestamp in packets} == {500, 500 + 0xFFFF, 500 + 2 * 0xFFFF, 500 + 3 * 0xFFFF}
    assert digits(packets) == "7"


def test_the_same_key_exactly_eight_seconds_after_its_end_is_another_press() -> None:
    assert digits(press(7, 500) + press(7, 500 + 0xFFFF)) == "77"


def test_timestamps_may_wrap() -> None:
    assert digits(press(1, 0xFFFFFF00) + press(2, 0x500)) == "12"


def test_events_that_are_no_keys_are_ignored() -> None:
    assert digits(press(16, 0) + press(36, 2000) + [(b"", 3000), (b"\x01", 4000)] + press(4, 6000)) == "4"


def test_after_a_change_of_source_timestamps_begin_anew() -> None:
    receiver = EventReceiver()
    assert receiver.receive(press(1, 90_000)[0][0], 90_000) == "1"
    receiver.forget()
    assert receiver.receive(press(1, 10)[0][0], 10) == "1"


def test_a_sent_press_has_a_marker_growing_durations_and_three_ends() -> None:
    sender = EventSender("#", 480)
    packets = []
    while (packet := sender.next()) is not None:
        packets.append(packet)
    events = [parse_event(packet.payload) for packet in packets]
    assert events == [TelephoneEvent(11, index == 2, 10, 160 * (index + 1)) for index in range(3)]
    assert [packet.marker for packet in packets] == [True, False, False]
    assert [packet.copies for packet in packets] == [1, 1, 3]


def test_a_press_is_never_shorter_than_a_packet() -> None:
    packet = EventSender("1", 1).next()
    assert packet is not None
    assert parse_event(packet.payload) == TelephoneEvent(1, True, 10, 160)
