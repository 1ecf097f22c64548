"""What the audio plane says of how late it was."""

from __future__ import annotations

from offhook.media import limits
from offhook.media.load import Load, LoadMeter


def read(meter: LoadMeter) -> Load:
    return meter.read(legs=1, vad_queued=0, vad_judged=0, vad_skipped=0)


def test_a_second_that_was_late_is_the_lateness_of_that_second_only() -> None:
    """Readings come once a second: what was late once must not pass for late five times."""
    meter = LoadMeter()
    for late_s in [0.0] * limits.LOAD_STEPS + [0.05] * limits.BUSY_STEPS:
        meter.began(late_s)
    assert read(meter).late_now_ms == 50
    for _ in range(limits.BUSY_STEPS):
        meter.began(0.001)
    load = read(meter)
    assert load.late_now_ms == 1
    assert load.late_p99_ms == load.late_max_ms == 50


def test_one_late_step_in_a_second_is_an_accident() -> None:
    meter = LoadMeter()
    for step in range(limits.BUSY_STEPS):
        meter.began(0.3 if step == 100 else 0.0)
    load = read(meter)
    assert load.late_now_ms == 0
    assert load.late_max_ms == 300


def test_nothing_is_late_before_the_first_step() -> None:
    assert read(LoadMeter()).late_now_ms == 0
