"""Silence that is passed over at once comes to the same as silence that is listened to window by window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from offhook.audio.turn import TurnDetector, TurnEvent, TurnOptions

STEP_MS, WINDOW_MS = 10, 32
CHUNK_STEPS = 16  # Five windows.

levels = st.one_of(st.floats(-95, -60), st.floats(-60, -15))
chunks = st.one_of(
    st.lists(st.floats(-95, -70), min_size=CHUNK_STEPS, max_size=CHUNK_STEPS),
    st.lists(levels, min_size=CHUNK_STEPS, max_size=CHUNK_STEPS),
)
lines = st.lists(st.tuples(chunks, st.floats(0, 1), st.integers(1, 12)), min_size=1, max_size=12)


class Line:
    """Gives chunks to a detector, as a session's audio comes."""

    def __init__(self, *, rests: bool) -> None:
        self.detector = TurnDetector(TurnOptions(pause_ms=100))
        self.events: list[TurnEvent] = []
        self.rested = 0
        self._rests = rests
        self._heard_ms = self._judged_ms = 0

    def take(self, chunk: list[float], probability: float) -> None:
        until_ms = self._judged_ms + len(chunk) * STEP_MS // WINDOW_MS * WINDOW_MS
        if self._rests and self.detector.rest(chunk, until_ms):
            self.rested += 1
            self._heard_ms += len(chunk) * STEP_MS
            self._judged_ms = until_ms
            return
        for level_dbfs in chunk:
            self.events += self.detector.hear([level_dbfs])
            self._heard_ms += STEP_MS
            if self._heard_ms >= self._judged_ms + WINDOW_MS:
                self._judged_ms += WINDOW_MS
                self.events += self.detector.judge(probability if self.detector.awake else 0.0, self._judged_ms)


@given(lines)
def test_what_follows_does_not_depend_on_whether_silence_was_passed_over(
    line: list[tuple[list[float], float, int]],
) -> None:
    resting, listening = Line(rests=True), Line(rests=False)
    for chunk, probability, times in line:
        for _ in range(times):
            resting.take(chunk, probability)
            listening.take(chunk, probability)
            assert resting.events == listening.events
            assert resting.detector.awake == listening.detector.awake
            assert resting.detector.quiet == listening.detector.quiet


def test_silence_is_passed_over_and_speech_is_not() -> None:
    line = Line(rests=True)
    for _ in range(10):
        line.take([-90.0] * CHUNK_STEPS, 0.0)
    assert line.rested == 10
    for _ in range(3):
        line.take([-20.0] * CHUNK_STEPS, 1.0)
    assert (line.rested, len(line.events)) == (10, 1)
