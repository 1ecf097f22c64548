"""What a client appended comes back as it was, however it was cut, and what was given up does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from offhook.session.input_audio import AFTER_MS, KEPT_MS, AppendedAudio
from offhook.wire.session import PcmuFormat

PER_MS = 8
PATTERN = bytes(number % 251 for number in range(251 * 2000))
sizes = st.sampled_from([1, 7, 80, 800, 1023, 1024, 4800]) | st.integers(1, 300_000)


@given(st.lists(st.tuples(sizes, st.integers(0, 120_000)), max_size=12), st.data())
def test_audio_is_kept_as_it_came_until_it_is_given_up(steps: list[tuple[int, int]], data: st.DataObject) -> None:
    kept, line, first_ms = AppendedAudio(), b"", 0
    for size_bytes, release_ms in steps:
        line += PATTERN[len(line) % 251 :][:size_bytes]
        kept.append(line[-size_bytes:], PcmuFormat())
        release_ms = min(release_ms, len(line) // PER_MS)
        kept.release(release_ms)
        if release_ms - AFTER_MS - first_ms >= 1000:
            first_ms = release_ms - AFTER_MS
    start_ms, end_ms = sorted(data.draw(st.tuples(*[st.integers(0, len(line) // PER_MS + 10)] * 2)))
    assert kept.kept_ms == len(line) // PER_MS - first_ms
    assert kept.as_sent(start_ms, end_ms, PcmuFormat()) == line[max(start_ms, first_ms) * PER_MS : end_ms * PER_MS]


def test_the_oldest_is_dropped_when_nobody_makes_a_turn_of_it() -> None:
    kept = AppendedAudio()
    for number in range(40):
        kept.append(bytes([number]) * 10_000 * PER_MS, PcmuFormat())
    assert KEPT_MS <= kept.kept_ms <= KEPT_MS + AFTER_MS
    assert kept.dropped_ms == 400_000 - kept.kept_ms
    assert kept.as_sent(0, 400_000, PcmuFormat())[:1] == bytes([kept.dropped_ms // 10_000])
    assert kept.as_sent(399_990, 400_000, PcmuFormat()) == bytes([39]) * 10 * PER_MS
