"""The ledger of one leg: what is handed out, what is counted, what is cut."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, silence
from offhook.audio.tone import find_tones, tone
from offhook.media.edge import (
    Edge,
    FillerEnded,
    Played,
    PlayoutFinished,
    PlayoutOverflowed,
    PlayoutStarted,
    PlayoutStopped,
)
from offhook.media.filler import Filler
from offhook.media.playout import Playout

SILENT = Codec.PCMU.silence * 160


class Leg:
    """A playout whose frames are taken one after another."""

    def __init__(self, limit_ms: int = 600_000) -> None:
        self.playout = Playout("leg", Codec.PCMU, limit_ms)
        self.edges: list[Edge] = []
        self.frames: list[bytes | None] = []

    def play(self, run: int, samples: Samples, rate_hz: int = 8000) -> None:
        self.playout.play(run, samples, rate_hz, len(self.frames) * 20, self.edges)

    def stop(self, through: int | None = None) -> None:
        self.playout.stop(through, len(self.frames) * 20, self.edges)

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.frames.append(self.playout.take(len(self.frames) * 20, self.edges))

    @property
    def line(self) -> Samples:
        return g711.decode(b"".join(frame or SILENT for frame in self.frames), Codec.PCMU)


def test_with_nothing_queued_there_is_nothing_to_say() -> None:
    leg = Leg()
    leg.tick(3)
    assert leg.frames == [None] * 3
    assert leg.playout.idle


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("duration_ms", [1, 20, 333, 1000, 2005])
def test_a_run_is_counted_to_the_millisecond_at_any_rate(rate_hz: int, duration_ms: int) -> None:
    leg = Leg()
    leg.play(0, tone(4, duration_ms, rate_hz), rate_hz)
    leg.playout.finish(0)
    leg.tick(duration_ms // 20 + 2)
    assert leg.edges[0] == PlayoutStarted("leg", 0, 0)
    assert leg.edges[-1] == PlayoutFinished("leg", duration_ms, 0, duration_ms)
    said = [frame for frame in leg.frames if frame is not None]
    assert len(said) == -(-duration_ms // 20)
    told = [edge.played_ms for edge in leg.edges if isinstance(edge, Played)]
    assert told == list(range(100, duration_ms + 1, 100))


@pytest.mark.parametrize("chunk", [1, 7, 160, 480, 1111, 24000])
def test_chunks_of_any_size_make_the_same_sound(chunk: int) -> None:
    sound = tone(9, 500, 24000)
    whole, pieces = Leg(), Leg()
    whole.play(0, sound, 24000)
    for start in range(0, len(sound), chunk):
        pieces.play(0, sound[start : start + chunk], 24000)
    for leg in (whole, pieces):
        leg.playout.finish(0)
        leg.tick(30)
    assert pieces.frames == whole.frames
    (heard,) = find_tones(pieces.line)
    assert (heard.number, heard.longest_gap_ms) == (9, 0)


def test_a_stop_hands_out_nothing_more_and_tells_what_was_said() -> None:
    leg = Leg()
    leg.play(5, tone(1, 3000))
    leg.play(6, tone(2, 3000))
    leg.tick(17)
    leg.stop()
    leg.tick(5)
    assert leg.edges[-2:] == [PlayoutStopped("leg", 340, 5, 340), PlayoutStopped("leg", 340, 6, 0)]
    assert leg.frames[17:] == [None] * 5
    assert leg.playout.queued_ms == pytest.approx(0)


def test_chunks_that_come_after_their_stop_are_dropped() -> None:
    leg = Leg()
    leg.play(3, tone(1, 100))
    leg.stop()
    leg.play(3, tone(1, 100))
    leg.play(2, tone(1, 100))
    leg.playout.finish(3)
    leg.tick(10)
    assert leg.frames == [None] * 10
    assert leg.playout.stale == 2
    leg.play(4, tone(2, 100))
    leg.tick(1)
    assert leg.frames[-1] is not None


def test_a_stop_can_spare_a_newer_run() -> None:
    leg = Leg()
    leg.play(0, tone(1, 1000))
    leg.play(1, tone(2, 200))
    leg.tick(3)
    leg.stop(through=0)
    leg.playout.finish(1)
    leg.tick(12)
    assert [edge for edge in leg.edges if isinstance(edge, PlayoutStopped)] == [PlayoutStopped("leg", 60, 0, 60)]
    assert leg.edges[-1] == PlayoutFinished("leg", 260, 1, 200)


def test_a_stop_that_comes_before_its_run_holds_all_the_same() -> None:
    leg = Leg()
    leg.stop(through=7)
    leg.play(7, tone(1, 100))
    leg.tick(3)
    assert leg.frames == [None] * 3
    assert leg.edges == []


def test_runs_follow_each_other_without_a_gap() -> None:
    leg = Leg()
    leg.play(0, tone(1, 130))
    leg.play(1, tone(1, 130))
    leg.playout.finish(1)
    leg.tick(15)
    finished = [edge for edge in leg.edges if isinstance(edge, PlayoutFinished)]
    assert finished == [PlayoutFinished("leg", 130, 0, 130), PlayoutFinished("leg", 260, 1, 130)]
    assert PlayoutStarted("leg", 130, 1) in leg.edges
    (heard,) = find_tones(leg.line)
    assert heard.longest_gap_ms <= 10


def test_a_slow_model_is_heard_in_whole_frames() -> None:
    leg = Leg()
    for _ in range(10):
        leg.play(0, np.full(100, 8000, dtype=np.int16))
        leg.tick()
    said = [frame for frame in leg.frames if frame is not None]
    assert len(said) == 1000 // 160
    assert all(frame == said[0] for frame in said)
    assert leg.playout.underruns > 0
    leg.playout.finish(0)
    leg.tick()
    assert leg.edges[-1] == PlayoutFinished("leg", 205, 0, 125)


def test_a_run_without_sound_ends_at_once() -> None:
    leg = Leg()
    leg.playout.finish(0)
    leg.play(1, silence(0))
    leg.playout.finish(1)
    leg.tick()
    assert leg.edges == [PlayoutFinished("leg", 0, 0, 0), PlayoutFinished("leg", 0, 1, 0)]
    assert leg.frames == [None]


def test_a_full_queue_refuses_the_newest_and_says_so_once() -> None:
    leg = Leg(limit_ms=1000)
    leg.play(0, tone(1, 900))
    for _ in range(3):
        leg.play(0, tone(1, 200))
    assert [edge for edge in leg.edges if isinstance(edge, PlayoutOverflowed)] == [PlayoutOverflowed("leg", 0, 0, 200)]
    assert leg.playout.refused == 3
    leg.tick(10)
    leg.play(0, tone(1, 200))
    assert leg.playout.refused == 3


def test_sound_after_the_end_of_its_run_is_dropped() -> None:
    leg = Leg()
    leg.play(0, tone(1, 100))
    leg.playout.finish(0)
    leg.play(0, tone(1, 100))
    leg.tick(8)
    assert leg.edges[-1] == PlayoutFinished("leg", 100, 0, 100)
    assert leg.playout.stale == 1


def test_the_rate_may_change_within_a_run() -> None:
    leg = Leg()
    for rate_hz in (24000, 16000, 8000):
        leg.play(0, tone(6, 200, rate_hz), rate_hz)
    leg.playout.finish(0)
    leg.tick(40)
    assert leg.edges[-1] == PlayoutFinished("leg", 600, 0, 600)
    (heard,) = find_tones(leg.line)
    assert heard.number == 6


def test_another_law_in_mid_run_keeps_the_sound() -> None:
    leg = Leg()
    leg.play(0, tone(6, 400))
    leg.tick(5)
    leg.playout.recode(Codec.PCMA)
    leg.tick(5)
    later = g711.decode(b"".join(frame or b"" for frame in leg.frames[5:]), Codec.PCMA)
    assert [heard.number for heard in find_tones(later)] == [6]


def test_no_more_is_converted_ahead_than_fits_into_a_tick() -> None:
    leg = Leg()
    leg.play(0, tone(6, 60_000, 24000), 24000)
    leg.tick()
    assert leg.playout.queued_ms == pytest.approx(60_000 - 200)


# -- fillers


def fill(leg: Leg, ms: int = 1000, *, loops: bool = False, whole: bool = False) -> None:
    filler = Filler(7, tone(2, ms), loops=loops, whole=whole)
    leg.playout.fill(filler, len(leg.frames) * 20, leg.edges)


def ended(leg: Leg) -> list[tuple[int, int]]:
    return [(edge.at_ms, edge.played_ms) for edge in leg.edges if isinstance(edge, FillerEnded)]


def test_a_filler_is_played_once_and_told_to_the_millisecond() -> None:
    leg = Leg()
    fill(leg, 510)
    leg.tick(30)
    (heard,) = find_tones(leg.line)
    assert (heard.number, heard.start_ms, heard.end_ms) == (2, 0, 510)
    assert ended(leg) == [(520, 510)]
    assert leg.playout.idle


def test_a_filler_that_loops_has_no_hole_and_stops_within_a_tick() -> None:
    leg = Leg()
    fill(leg, 100, loops=True)
    leg.tick(50)
    leg.playout.stop_filling(1000, leg.edges)
    leg.tick(5)
    assert None not in leg.frames[:50]
    assert leg.frames[50:] == [None] * 5
    assert ended(leg) == [(1000, 1000)]


def test_an_answer_takes_the_place_of_a_tone_within_a_tick_and_is_counted_alone() -> None:
    leg = Leg()
    fill(leg, loops=True)
    leg.tick(20)
    leg.play(3, tone(9, 400))
    leg.playout.finish(3)
    leg.tick(25)
    assert [(each.number, each.start_ms, each.end_ms) for each in find_tones(leg.line)] == [(2, 0, 400), (9, 400, 800)]
    assert PlayoutFinished("leg", 800, 3, 400) in leg.edges
    assert ended(leg) == [(400, 400)]


def test_a_tone_goes_on_until_the_answer_has_a_whole_frame() -> None:
    leg = Leg()
    fill(leg, loops=True)
    leg.play(3, tone(9, 10))
    leg.tick(3)
    assert None not in leg.frames
    leg.play(3, tone(9, 100))
    leg.tick(1)
    assert ended(leg) == [(60, 60)]


def test_an_answer_waits_for_the_end_of_a_sentence() -> None:
    leg = Leg()
    fill(leg, 300, whole=True)
    leg.tick(5)
    leg.play(3, tone(9, 200))
    leg.playout.finish(3)
    leg.tick(25)
    assert [(each.number, each.start_ms, each.end_ms) for each in find_tones(leg.line)] == [(2, 0, 300), (9, 300, 500)]
    assert ended(leg) == [(300, 300)]


def test_a_filler_that_comes_too_late_is_not_heard() -> None:
    leg = Leg()
    leg.play(3, tone(9, 200))
    leg.tick(2)
    fill(leg, whole=True)
    leg.tick(8)
    assert [each.number for each in find_tones(leg.line)] == [9]
    assert ended(leg) == [(40, 0)]


def test_a_new_filler_ends_the_one_before() -> None:
    leg = Leg()
    fill(leg, loops=True)
    leg.tick(2)
    fill(leg, 100)
    leg.tick(8)
    assert ended(leg) == [(40, 40), (140, 100)]
