"""Whatever a line carries, the turns on it make sense."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.audio.turn import (
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEvent,
    TurnOptions,
)

stretches = st.lists(
    st.tuples(st.integers(1, 60), st.floats(-100, 0), st.floats(0, 1)), min_size=1, max_size=20
)  # Steps of 10 ms, their level, the probability.
options = st.builds(
    TurnOptions,
    threshold=st.floats(0, 1),
    silence_duration_ms=st.integers(0, 2000),
    prefix_padding_ms=st.integers(0, 1000),
    onset_ms=st.integers(0, 300),
    pause_ms=st.integers(0, 600),
)
CHANGES = (SpeechStarted, SpeechStopped)


@settings(max_examples=300)
@given(stretches, options, st.none() | options, st.integers(0, 300), st.integers(0, 5), st.sets(st.integers(0, 300)))
def test_starts_and_stops_alternate_in_order_of_time(
    sound: list[tuple[int, float, float]],
    first: TurnOptions,
    second: TurnOptions | None,
    change_at: int,
    late_steps: int,
    ended_at: set[int],
) -> None:
    detector = TurnDetector(first)
    events: list[TurnEvent] = []
    steps = [(level, probability) for count, level, probability in sound for _ in range(count)]
    judged_ms = 0
    on = True
    for index, (level, _) in enumerate(steps):
        if index == change_at:
            detector.configure(second)
            on = second is not None
            if not on:
                while events and not isinstance(events[-1], SpeechStopped):
                    events.pop()
        events += detector.hear([level])
        if index in ended_at:
            events += detector.end()
        while judged_ms + 32 <= (index + 1 - late_steps) * 10:
            events += detector.judge(steps[judged_ms // 10][1], judged_ms + 32)
            judged_ms += 32
    speaking = paused = False
    for event in events:
        match event:
            case SpeechStarted():
                assert not speaking
                speaking, paused = True, False
            case SpeechPaused():
                assert speaking
                assert not paused
                paused = True
            case SpeechResumed():
                assert speaking
                assert paused
                paused = False
            case SpeechStopped():
                assert speaking
                speaking = False
    times = [time for event in events if isinstance(event, CHANGES) for time in _times(event)]
    assert times == sorted(times)
    assert all(0 <= time <= len(steps) * 10 for time in times)
    decided = [event.decided_ms for event in events]
    assert decided == sorted(decided)
    assert detector.speaking == speaking


def _times(event: SpeechStarted | SpeechStopped) -> list[int]:
    if isinstance(event, SpeechStarted):
        assert event.audio_from_ms <= event.start_ms <= event.decided_ms
        return [event.start_ms]
    assert event.start_ms <= event.end_ms <= event.decided_ms
    return [event.end_ms]
