"""The jitter buffer under everything that networks and peers do to a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from offhook.rtp.jitter import LEAST_DEPTH, MOST_DEPTH, START_DEPTH, Frame, JitterBuffer, Lost, Pause, Piece

MS = 8


@dataclass
class Stream:
    """A sender with 20 ms frames (or others) whose every packet arrives when the test says."""

    buffer: JitterBuffer = field(default_factory=JitterBuffer)
    sequence: int = 100
    timestamp: int = 5000
    frame_ms: int = 20
    line: list[Piece] = field(default_factory=list)
    now_ms: float = 0.0
    sent: int = 0

    def packet(self) -> tuple[int, int, bytes]:
        """Make the next packet; its payload names it."""
        made = (self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, bytes([self.sent % 256]) * (self.frame_ms * MS))
        self.sequence += 1
        self.timestamp += self.frame_ms * MS
        self.sent += 1
        return made

    def arrive(self, packet: tuple[int, int, bytes], *, late_ms: float = 0.0, marker: bool = False) -> None:
        sequence, timestamp, payload = packet
        now = round((self.now_ms + late_ms) * MS)
        self.line += self.buffer.put(sequence, timestamp, payload, 0, marker, now)

    def tick(self, ms: float | None = None) -> None:
        self.now_ms += self.frame_ms if ms is None else ms
        self.line += self.buffer.fill(round(self.now_ms * MS))

    def run(self, packets: int) -> None:
        for _ in range(packets):
            self.tick()
            self.arrive(self.packet())

    @property
    def heard(self) -> list[int]:
        return [piece.payload[0] for piece in self.line if isinstance(piece, Frame)]

    def ticks_of(self, kind: type[Lost | Pause]) -> int:
        return sum(piece.ticks for piece in self.line if isinstance(piece, kind))

    def consistent(self) -> None:
        total = sum(len(piece.payload) if isinstance(piece, Frame) else piece.ticks for piece in self.line)
        assert total == self.buffer.line_end


@pytest.mark.parametrize("frame_ms", [10, 20, 30, 40, 60])
def test_packets_in_order_are_handed_on_at_once(frame_ms: int) -> None:
    stream = Stream(frame_ms=frame_ms)
    for count in range(1, 50):
        stream.run(1)
        assert stream.heard == list(range(count))
        # A frame longer than the depth finds the line filled up already when the first one comes.
        assert 0 <= stream.buffer.line_end - round(stream.now_ms * MS) <= max(frame_ms * MS - START_DEPTH, 0)
    assert stream.ticks_of(Lost) == 0
    stream.consistent()


def test_two_packets_that_changed_places_are_put_back() -> None:
    stream = Stream()
    stream.run(5)
    first, second = stream.packet(), stream.packet()
    stream.tick()
    stream.arrive(second)
    assert stream.heard == [0, 1, 2, 3, 4]
    stream.tick(5)
    stream.arrive(first)
    assert stream.heard == [0, 1, 2, 3, 4, 5, 6]
    assert (stream.buffer.reordered, stream.buffer.lost, stream.buffer.late) == (1, 0, 0)


def test_a_lost_packet_is_declared_when_the_depth_is_over_and_not_before() -> None:
    stream = Stream()
    stream.run(5)
    stream.packet()
    stream.tick()
    stream.tick()
    stream.arrive(stream.packet())
    assert stream.heard == [0, 1, 2, 3, 4]
    stream.tick(START_DEPTH / MS - 21)
    assert stream.heard == [0, 1, 2, 3, 4]
    stream.tick(1)
    assert stream.line[-2:] == [Lost(160), Frame(b"\x06" * 160, 0)]
    assert stream.buffer.lost == 1
    stream.consistent()


@pytest.mark.parametrize(("asked_ms", "depth_ms"), [(20, 20), (80, 80), (120, 120), (5, 20), (500, 120)])
def test_a_hole_waits_as_long_as_was_asked_for(asked_ms: int, depth_ms: int) -> None:
    stream = Stream(JitterBuffer(depth=asked_ms * MS))
    stream.run(5)
    late = stream.packet()
    for _ in range(depth_ms // 20):
        stream.tick()
        stream.arrive(stream.packet())
    stream.tick(19)
    assert 5 not in stream.heard
    stream.arrive(late)
    assert stream.heard[:6] == [0, 1, 2, 3, 4, 5]
    assert stream.buffer.lost == 0
    stream.packet()
    for _ in range(depth_ms // 20 + 1):
        stream.tick()
        stream.arrive(stream.packet())
    stream.tick(19)
    assert stream.buffer.lost == 1


def test_a_deep_buffer_does_not_shrink_below_what_was_asked_for() -> None:
    stream = Stream(JitterBuffer(depth=80 * MS))
    stream.run(1000)
    assert stream.buffer.depth == 80 * MS


def test_without_the_buffer_a_hole_is_lost_at_once() -> None:
    stream = Stream(JitterBuffer(depth=0))
    stream.run(5)
    lost = stream.packet()
    stream.tick(40)
    stream.arrive(stream.packet())
    assert stream.heard == [0, 1, 2, 3, 4, 6]
    stream.arrive(lost)
    assert stream.heard == [0, 1, 2, 3, 4, 6]
    assert stream.buffer.late == 1


def test_a_copy_is_heard_once() -> None:
    stream = Stream()
    stream.run(3)
    packet = stream.packet()
    stream.tick()
    for _ in range(3):
        stream.arrive(packet)
    skipped, ahead = stream.packet(), stream.packet()
    stream.arrive(ahead)
    stream.arrive(ahead)
    stream.arrive(skipped)
    assert stream.heard == [0, 1, 2, 3, 4, 5]
    assert stream.buffer.duplicate == 3
    assert stream.buffer.late == 0


def test_the_depth_grows_with_late_packets_to_its_limit_and_shrinks_in_calm() -> None:
    stream = Stream()
    stream.run(20)
    assert stream.buffer.depth == START_DEPTH
    for late_ms in (60, 60, 90, 400):
        packet = stream.packet()
        for _ in range(late_ms // 20):
            stream.tick()
            stream.arrive(stream.packet())
        stream.tick()
        stream.arrive(packet)
    assert stream.buffer.depth == MOST_DEPTH
    stream.run(3000)
    assert stream.buffer.depth == START_DEPTH
    assert LEAST_DEPTH <= START_DEPTH


def test_a_second_packet_as_late_as_the_first_is_waited_for() -> None:
    stream = Stream()
    stream.run(20)
    for _ in range(2):
        late = stream.packet()
        stream.run(4)
        stream.arrive(late)
        stream.run(20)
    assert stream.buffer.late == 1
    assert stream.heard.count(20) == 0
    assert stream.heard.count(45) == 1


def test_a_stall_of_the_network_costs_what_is_over_the_depth_and_time_stays_true() -> None:
    stream = Stream()
    stream.run(20)
    stalled = [stream.packet() for _ in range(10)]
    for _ in range(10):
        stream.tick()
    for packet in stalled:
        stream.arrive(packet)
    stream.run(20)
    stream.consistent()
    assert stream.buffer.line_end == round(stream.now_ms * MS)
    assert stream.heard[-21:] == list(range(29, 50))
    assert stream.heard == sorted(stream.heard)


def test_a_sender_that_pauses_leaves_silence_and_not_concealment() -> None:
    stream = Stream()
    stream.run(10)
    for _ in range(200):
        stream.tick()
    stream.timestamp += 200 * 160
    before = stream.ticks_of(Lost)
    stream.run(10)
    assert stream.ticks_of(Lost) == before <= 120 * MS
    assert stream.ticks_of(Pause) >= 200 * 160 - 120 * MS
    assert stream.buffer.line_end == round(stream.now_ms * MS)
    assert stream.buffer.lost == 0
    stream.consistent()


def test_a_short_gap_in_time_alone_is_a_pause_at_once() -> None:
    stream = Stream()
    stream.run(10)
    stream.timestamp += 2 * 160
    stream.tick(60)
    stream.arrive(stream.packet())
    assert stream.line[-1] == Frame(b"\x0a" * 160, 0)
    stream.consistent()


def test_a_clock_that_stood_still_in_the_pause_is_set_by_the_marker() -> None:
    stream = Stream()
    stream.run(10)
    for _ in range(20):
        stream.tick()
    stream.tick()
    stream.arrive(stream.packet(), marker=True)
    assert stream.heard[-1] == 10
    assert stream.buffer.line_end == round(stream.now_ms * MS)


def test_a_clock_that_stood_still_without_any_marker_is_found_within_120_ms() -> None:
    stream = Stream()
    stream.run(10)
    for _ in range(15):
        stream.tick()
    stream.run(20)
    assert stream.heard[10] <= 16
    assert stream.buffer.line_end == round(stream.now_ms * MS)


@pytest.mark.parametrize("jump", [1_000_000, -1_000_000, 0x7FFFFFFF, 90_000])
def test_a_jump_of_the_timestamp_loses_nothing(jump: int) -> None:
    stream = Stream()
    stream.run(10)
    stream.timestamp += jump
    stream.run(10)
    assert stream.heard == list(range(20))
    assert stream.buffer.line_end == round(stream.now_ms * MS)
    assert stream.buffer.restarts == 1


def test_a_jump_of_the_sequence_costs_one_packet() -> None:
    stream = Stream()
    stream.run(10)
    stream.sequence += 20000
    stream.run(10)
    assert stream.heard == [*range(10), *range(11, 20)]


def test_a_single_stray_sequence_number_is_ignored() -> None:
    stream = Stream()
    stream.run(10)
    stream.arrive((40000, 77, b"\xee" * 160))
    stream.run(10)
    assert stream.heard == list(range(20))


def test_the_wraps_of_sequence_and_timestamp_are_not_noticed() -> None:
    stream = Stream(sequence=65530, timestamp=0xFFFFFFFF - 500)
    stream.run(30)
    assert stream.heard == list(range(30))
    assert stream.buffer.restarts == 0


def test_a_telephone_event_in_between_is_not_taken_for_loss() -> None:
    stream = Stream()
    stream.run(5)
    sequence, timestamp, _ = stream.packet()
    stream.tick()
    stream.arrive((sequence, timestamp, b""))
    stream.run(5)
    assert stream.heard == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert stream.buffer.lost == 0
    assert stream.ticks_of(Lost) == 0


def test_nothing_ever_arriving_is_a_pause() -> None:
    stream = Stream()
    for _ in range(50):
        stream.tick()
    assert stream.ticks_of(Pause) == 1000 * MS - START_DEPTH
    assert stream.ticks_of(Lost) == 0


def test_an_hour_in_which_nobody_looked_is_one_piece() -> None:
    stream = Stream()
    stream.run(5)
    stream.tick(3_600_000)
    assert len(stream.line) < 20
    stream.consistent()


@pytest.mark.parametrize("parts_per_million", [300, -300])
def test_clocks_that_drift_apart_are_brought_together_in_silence(parts_per_million: int) -> None:
    stream = Stream()
    for index in range(30000):  # Ten minutes.
        stream.now_ms = 20 * index * (1 - parts_per_million / 1e6)
        stream.line += stream.buffer.fill(round(stream.now_ms * MS))
        stream.arrive(stream.packet())
        if stream.buffer.drift:
            stream.buffer.correct()
    drifted = 600_000 * 300e-6 * MS
    assert abs(stream.buffer.line_end - stream.now_ms * MS) <= 45 * MS < drifted
    assert stream.ticks_of(Lost) == 0
    stream.consistent()
    if parts_per_million > 0:
        assert stream.buffer.skipped_ticks >= drifted - 45 * MS
        assert stream.buffer.late == 0


def test_a_delay_that_grew_for_good_is_followed() -> None:
    stream = Stream()
    stream.run(50)
    for _ in range(15):
        stream.tick()  # The new path is 300 ms longer.
    stream.run(100)
    assert stream.heard[-90:] == list(range(60, 150))


def test_another_source_begins_anew_on_the_same_line() -> None:
    stream = Stream()
    stream.run(10)
    skipped = stream.packet()
    stream.arrive(stream.packet())
    stream.buffer.reset()
    assert skipped[0]
    other = Stream(stream.buffer, sequence=9, timestamp=77, now_ms=stream.now_ms, line=stream.line, sent=50)
    other.run(10)
    assert other.heard == [*range(10), *range(50, 60)]
    assert other.buffer.line_end == round(other.now_ms * MS)
    other.consistent()


def test_a_burst_behind_a_hole_never_waits_beyond_the_limit() -> None:
    stream = Stream()
    stream.run(3)
    stream.packet()
    for _ in range(64):
        stream.arrive(stream.packet())
    assert stream.buffer.overflowed == 1
    assert len(stream.heard) == 67
