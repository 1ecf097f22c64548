"""Any order of arrival, any loss, any copies: the line is in order, whole, and on time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.rtp.jitter import MOST_DEPTH, Frame, JitterBuffer, Piece

MS = 8
frames_ms = st.sampled_from([10, 20, 30, 40, 60])
depths_ms = st.sampled_from([0, 20, 40, 120])


def length(piece: Piece) -> int:
    return len(piece.payload) if isinstance(piece, Frame) else piece.ticks


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.none() | st.integers(0, 400), st.integers(0, 2)), min_size=1, max_size=120),
    frames_ms,
    depths_ms,
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
)
def test_every_packet_is_heard_at_most_once_in_order_and_time_is_whole(
    fates: list[tuple[int | None, int]], frame_ms: int, depth_ms: int, first_sequence: int, first_timestamp: int
) -> None:
    """Each packet is lost (None) or late by so many ms, and arrives with so many copies."""
    arrivals = []
    for index, (late_ms, copies) in enumerate(fates):
        if late_ms is not None:
            at_ms = (index + 1) * frame_ms + late_ms
            arrivals += [(at_ms + 3 * copy, index) for copy in range(copies + 1)]
    arrivals.sort()
    buffer = JitterBuffer(depth=depth_ms * MS)
    line: list[Piece] = []
    for now_ms in range(0, len(fates) * frame_ms + 600, 5):
        while arrivals and arrivals[0][0] <= now_ms:
            _, index = arrivals.pop(0)
            sequence = first_sequence + index & 0xFFFF
            timestamp = first_timestamp + index * frame_ms * MS & 0xFFFFFFFF
            payload = index.to_bytes(2) * (frame_ms * MS // 2)
            line += buffer.put(sequence, timestamp, payload, 0, False, now_ms * MS)
        line += buffer.fill(now_ms * MS)
        assert sum(map(length, line)) == buffer.line_end
        assert buffer.line_end > now_ms * MS - MOST_DEPTH - 2 * 60 * MS
        assert len(buffer._waiting) <= 64
    heard = [int.from_bytes(piece.payload[-2:]) for piece in line if isinstance(piece, Frame)]
    assert heard == sorted(set(heard))
    assert all(length(piece) > 0 for piece in line)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 35), min_size=1, max_size=100), st.integers(0, 65535))
def test_what_is_late_by_less_than_the_depth_is_all_heard(late_ms: list[int], first_sequence: int) -> None:
    arrivals = sorted(((index + 1) * 20 + late, index) for index, late in enumerate([0, *late_ms]))
    buffer = JitterBuffer()
    heard: list[int] = []
    for now_ms in range(len(arrivals) * 20 + 100):
        pieces: list[Piece] = []
        while arrivals and arrivals[0][0] <= now_ms:
            _, index = arrivals.pop(0)
            pieces += buffer.put(
                first_sequence + index & 0xFFFF, index * 160, bytes([index]) * 160, 0, False, now_ms * MS
            )
        pieces += buffer.fill(now_ms * MS)
        heard += [piece.payload[0] for piece in pieces if isinstance(piece, Frame)]
    assert heard == list(range(len(late_ms) + 1))
    assert buffer.lost == buffer.late == 0


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 65535), st.integers(0, 2**32 - 1), st.integers(0, 500), st.booleans(), st.integers(0, 3000)
        ),
        max_size=80,
    ),
    depths_ms,
)
def test_hostile_headers_never_break_the_line(packets: list[tuple[int, int, int, bool, int]], depth_ms: int) -> None:
    buffer = JitterBuffer(depth=depth_ms * MS)
    now = total = 0
    for sequence, timestamp, size, marker, passed in packets:
        now += passed
        for piece in (*buffer.put(sequence, timestamp, bytes(size), 0, marker, now), *buffer.fill(now)):
            assert length(piece) > 0
            total += length(piece)
        assert total == buffer.line_end
        assert buffer.line_end <= now + 64 * 4000 + len(packets) * 4500
