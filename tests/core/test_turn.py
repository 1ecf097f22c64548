"""Turns from levels and probabilities that are written out by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from offhook.audio.turn import (
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    TurnDetector,
    TurnEvent,
    TurnOptions,
)

SILENT, LOUD = -90.0, -22.0


@dataclass
class Line:
    """Plays stretches of sound to a detector: a level for every 10 ms, a probability when a window of 32 ms ends."""

    detector: TurnDetector
    events: list[TurnEvent] = field(default_factory=list)
    heard_ms: int = 0
    _window: list[float] = field(default_factory=list)

    def play(self, duration_ms: int, level_dbfs: float, probability: float) -> Line:
        """Each millisecond has a probability; a window is judged by their mean, as a detector without any lag would."""
        for _ in range(duration_ms // 10):
            self._window += [probability] * 10
            self.heard_ms += 10
            self.events += self.detector.hear([level_dbfs])
            while len(self._window) >= 32:
                window, self._window = self._window[:32], self._window[32:]
                until_ms = self.heard_ms - len(self._window)
                self.events += self.detector.judge(sum(window) / 32, until_ms)
        return self

    def silence(self, duration_ms: int) -> Line:
        return self.play(duration_ms, SILENT, 0.0)

    def speech(self, duration_ms: int) -> Line:
        return self.play(duration_ms, LOUD, 1.0)

    @property
    def started(self) -> list[SpeechStarted]:
        return [event for event in self.events if isinstance(event, SpeechStarted)]

    @property
    def stopped(self) -> list[SpeechStopped]:
        return [event for event in self.events if isinstance(event, SpeechStopped)]


def listen(**options: float) -> Line:
    return Line(TurnDetector(TurnOptions(**options)))  # type: ignore[arg-type]


def test_a_turn_on_a_clean_line_is_dated_to_the_step_and_decided_without_delay() -> None:
    line = listen().silence(1000).speech(800).silence(1000)
    assert line.events == [SpeechStarted(1000, 700, 1060), SpeechStopped(1000, 1800, 2300)]


@pytest.mark.parametrize("onset_ms", [30, 60, 100, 200])
@pytest.mark.parametrize("silence_duration_ms", [100, 200, 500, 1200, 3000, 9000])
def test_the_configured_times_are_kept_to_one_step(onset_ms: int, silence_duration_ms: int) -> None:
    line = listen(onset_ms=onset_ms, silence_duration_ms=silence_duration_ms)
    line.silence(990).speech(600).silence(10000)
    (started,), (stopped,) = line.started, line.stopped
    # A probability is known when its window of 32 ms ends, so an onset under that waits for the window.
    assert 0 <= started.decided_ms - 990 - onset_ms <= max(10, 40 - onset_ms)
    assert stopped.decided_ms - stopped.end_ms - silence_duration_ms in range(10)
    # What was heard 6.4 s ago is not remembered to the step.
    assert stopped.end_ms == pytest.approx(1590, abs=0 if silence_duration_ms < 6000 else 80)


def test_the_padding_does_not_reach_before_the_call() -> None:
    (started,) = listen(prefix_padding_ms=300).silence(100).speech(500).started
    assert (started.start_ms, started.audio_from_ms) == (100, 0)


def test_a_detector_that_lets_go_late_does_not_delay_the_end() -> None:
    line = listen().silence(1000).speech(800).play(90, SILENT, 1.0).silence(1000)
    (stopped,) = line.stopped
    assert stopped.decided_ms - 1800 <= 500 + 50


def test_a_click_is_no_turn() -> None:
    line = listen().silence(1000)
    for _ in range(10):
        line.play(10, LOUD, 1.0).play(30, SILENT, 0.9).silence(400)
    assert line.events == []


def test_energy_without_speech_is_no_turn() -> None:
    line = listen().silence(1000).play(3000, LOUD, 0.1).silence(1000)
    assert line.events == []


def test_noise_after_the_last_word_does_not_hold_the_turn_open() -> None:
    line = listen().silence(1000).speech(800).silence(100).play(2000, -25.0, 0.05)
    (stopped,) = line.stopped
    assert stopped.end_ms == 1800


def test_a_noisy_line_falls_back_to_the_dates_of_the_detector() -> None:
    line = listen()
    line.play(3000, -35.0, 0.0).play(960, -33.0, 1.0).play(2000, -35.0, 0.0)
    (started,), (stopped,) = line.started, line.stopped
    assert started.start_ms == pytest.approx(3000, abs=64)
    assert stopped.end_ms == pytest.approx(3960, abs=100)
    assert stopped.decided_ms - stopped.end_ms <= 560


def test_a_voice_too_soft_for_energy_is_a_turn_all_the_same() -> None:
    line = listen().silence(1000).play(1000, -64.0, 0.9).silence(1500)
    (started,), (stopped,) = line.started, line.stopped
    assert started.start_ms == pytest.approx(1000, abs=32)
    assert stopped.end_ms == pytest.approx(2000, abs=64)


def test_a_soft_word_ending_is_part_of_the_turn() -> None:
    line = listen().silence(1000).speech(600).play(300, -64.0, 0.8).silence(1500)
    (stopped,) = line.stopped
    assert stopped.end_ms > 1800


def test_a_pause_shorter_than_the_silence_is_inside_the_turn() -> None:
    line = listen(silence_duration_ms=300).silence(500).speech(400).silence(250).speech(400).silence(600)
    assert len(line.started) == 1
    assert [event.end_ms for event in line.stopped] == [1550]


def test_speech_that_comes_back_at_the_last_moment_is_waited_for() -> None:
    line = listen(silence_duration_ms=320).silence(500).speech(420).silence(310).speech(400).silence(600)
    assert len(line.stopped) == 1
    assert line.stopped[0].end_ms == 500 + 420 + 310 + 400


def test_two_turns_follow_each_other() -> None:
    line = listen(silence_duration_ms=200).silence(500).speech(400).silence(500).speech(400).silence(500)
    assert [event.start_ms for event in line.started] == [500, 1400]
    assert [event.end_ms for event in line.stopped] == [900, 1800]


def test_the_echo_of_a_turn_in_the_detector_does_not_start_another() -> None:
    line = listen(silence_duration_ms=100).silence(500).speech(400).play(150, SILENT, 0.9).silence(800)
    assert len(line.started) == 1


def test_a_stop_never_lies_before_its_start() -> None:
    line = listen(onset_ms=0).silence(1000).play(40, -64.0, 1.0).play(60, -64.0, 0.6).silence(2000)
    for stopped in line.stopped:
        assert stopped.end_ms >= stopped.start_ms


def test_breath_before_a_word_does_not_date_its_start() -> None:
    line = listen().silence(1000).play(400, -50.0, 0.1).silence(100).speech(500).silence(1000)
    (started,) = line.started
    assert started.start_ms == 1500


def test_a_voice_over_long_noise_starts_where_the_detector_says() -> None:
    line = listen().silence(1000).play(700, -40.0, 0.1).speech(500).silence(1000)
    (started,) = line.started
    assert started.start_ms == pytest.approx(1700, abs=32)


def test_switched_off_nothing_is_a_turn() -> None:
    line = Line(TurnDetector(None))
    assert not line.detector.on
    assert line.silence(500).speech(1000).silence(1000).events == []


def test_switching_off_in_mid_speech_forgets_the_turn() -> None:
    line = listen().silence(500).speech(500)
    line.detector.configure(None)
    assert not line.detector.speaking
    line.speech(300).silence(2000)
    assert len(line.events) == 1
    line.detector.configure(TurnOptions())
    line.speech(500).silence(1000)
    assert [type(event) for event in line.events] == [SpeechStarted, SpeechStarted, SpeechStopped]


def test_switching_on_in_mid_speech_starts_a_turn() -> None:
    line = Line(TurnDetector(None)).silence(500).speech(500)
    line.detector.configure(TurnOptions())
    line.speech(500).silence(1000)
    (started,) = line.started
    assert 1000 - 32 <= started.start_ms <= 1032
    assert line.stopped[0].end_ms == 1500


def test_a_shorter_silence_set_in_mid_turn_holds_for_this_turn() -> None:
    line = listen(silence_duration_ms=800).silence(500).speech(500).silence(300)
    line.detector.configure(TurnOptions(silence_duration_ms=200))
    line.silence(50)
    (stopped,) = line.stopped
    assert stopped.end_ms == 1000
    assert stopped.decided_ms == 1310


def test_the_threshold_is_obeyed() -> None:
    line = listen(threshold=0.8).silence(500).play(600, LOUD, 0.7).silence(1000)
    assert line.events == []
    line = listen(threshold=0.6).silence(500).play(600, LOUD, 0.7).silence(1000)
    assert len(line.started) == 1


def test_a_pause_is_known_to_be_quiet() -> None:
    line = listen().silence(500).speech(400)
    assert not line.detector.quiet
    line.silence(60)
    assert line.detector.quiet


def test_one_doubtful_window_is_no_turn_but_two_are() -> None:
    doubtful = listen().silence(960).play(30, LOUD, 0.6).play(170, LOUD, 0.2).silence(500)
    assert doubtful.events == []
    lasting = listen().silence(960).play(100, LOUD, 0.6).silence(1000)
    assert len(lasting.started) == 1


def test_after_half_a_second_without_energy_the_detector_need_not_be_asked() -> None:
    line = listen().silence(100)
    assert not line.detector.awake
    line.play(10, LOUD, 0.0)
    assert line.detector.awake
    line.silence(500)
    assert line.detector.awake
    line.silence(20)
    assert not line.detector.awake


# -- pauses


def test_a_pause_is_told_before_it_is_the_end_of_the_turn() -> None:
    line = listen(pause_ms=160).silence(1000).speech(800).silence(1000)
    assert line.events == [
        SpeechStarted(1000, 700, 1060),
        SpeechPaused(1000, 1800, 1960),
        SpeechStopped(1000, 1800, 2300),
    ]


def test_a_pause_that_was_none_is_taken_back_and_the_next_one_told() -> None:
    line = listen(pause_ms=160).silence(1000).speech(800).silence(300).speech(500).silence(1000)
    paused, resumed, again, stopped = line.events[1:]
    assert paused == SpeechPaused(1000, 1800, 1960)
    assert isinstance(resumed, SpeechResumed)
    assert 2100 < resumed.decided_ms <= 2100 + 2 * 32
    assert again == SpeechPaused(1000, 2600, 2760)
    assert stopped == SpeechStopped(1000, 2600, 3100)


def test_the_gap_inside_a_word_is_no_pause() -> None:
    line = listen(pause_ms=160).silence(1000).speech(400).silence(100).speech(400)
    assert line.events == [SpeechStarted(1000, 700, 1060)]


@pytest.mark.parametrize("pause_ms", [0, 500, 900])
def test_no_pause_is_told_where_nobody_asked_or_the_turn_ends_first(pause_ms: int) -> None:
    line = listen(pause_ms=pause_ms).silence(1000).speech(800).silence(1000)
    assert line.events == [SpeechStarted(1000, 700, 1060), SpeechStopped(1000, 1800, 2300)]


def test_a_turn_ends_in_its_pause_when_somebody_says_so() -> None:
    line = listen(pause_ms=120, silence_duration_ms=4000).silence(1000).speech(800).silence(250)
    line.events += line.detector.end()
    assert line.events[1:] == [SpeechPaused(1000, 1800, 1920), SpeechStopped(1000, 1800, 2050)]
    line.silence(5000)
    assert len(line.stopped) == 1


def test_a_caller_who_speaks_on_is_not_ended() -> None:
    line = listen(pause_ms=120, silence_duration_ms=4000).silence(1000).speech(800).silence(300).speech(300)
    assert not line.detector.end()
    line.silence(3000)
    assert line.stopped == []


def test_an_end_that_comes_with_the_next_word_waits_for_what_the_detector_hears() -> None:
    """Energy came up and nobody knows yet what it is: a word takes the end back, a click only delays it."""
    for probability, ends in ((1.0, False), (0.0, True)):
        line = listen(pause_ms=120, silence_duration_ms=4000).silence(1000).speech(800).silence(200)
        line.play(10, LOUD, probability)
        assert not line.detector.end()
        line.play(90, LOUD if probability else SILENT, probability).silence(60)
        assert bool(line.stopped) is ends


def test_nothing_ends_outside_of_a_pause() -> None:
    line = listen(pause_ms=120).silence(1000)
    assert not line.detector.end()
    line.speech(500)
    assert not line.detector.end()


def test_a_detector_that_lets_go_late_makes_one_pause_of_one_silence() -> None:
    """Told by energy alone, the pause ended with every window that still held the word, and began again."""
    line = listen(pause_ms=60, silence_duration_ms=4000).silence(1000).speech(800)
    line.play(96, SILENT, 1.0).silence(1000)
    (paused,) = line.events[1:]
    assert isinstance(paused, SpeechPaused)
    assert paused.end_ms == pytest.approx(1800, abs=20)
    assert paused.decided_ms - 1800 <= 96 + 32 + 10


@pytest.mark.parametrize("behind_ms", [150, 400, 1000])
def test_levels_that_come_long_before_their_probabilities_end_no_turn(behind_ms: int) -> None:
    """After a stall of the server the turn was ended in mid-word, and what followed made another one."""
    line = listen(silence_duration_ms=200).silence(1000).speech(800)
    line.events += line.detector.hear([LOUD] * (behind_ms // 10))
    for until_ms in range(1824, 1800 + behind_ms, 32):
        line.events += line.detector.judge(1.0, until_ms)
    assert line.stopped == []
    line.heard_ms += behind_ms
    line.silence(400)
    (stopped,) = line.stopped
    assert stopped.end_ms == 1800 + behind_ms
