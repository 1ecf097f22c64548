"""What clients append: kept as long as somebody may want it, and listened to whatever its pieces are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import from_bytes, silence, to_bytes
from offhook.audio.resample import BatchResampler, Resampler, resample
from offhook.audio.turn import SpeechPaused, SpeechStarted, SpeechStopped, TurnOptions
from offhook.media.vad import load_silero
from offhook.session.input_audio import AFTER_MS, KEPT_MS, AppendedAudio
from offhook.session.listening import CONVERTED_MS, JUDGED_WINDOWS, MAX_EARS, Ear, Listening
from offhook.testing.voice import voice
from offhook.wire import limits
from offhook.wire.session import AudioFormat, PcmaFormat, PcmFormat, PcmuFormat

SPOKEN = np.concatenate([silence(4000), voice(1200, seed=1), silence(8000), voice(700, seed=2), silence(8000)])
LINES: list[tuple[AudioFormat, bytes]] = [
    (PcmFormat(), to_bytes(resample(SPOKEN, 8000, 24000))),
    (PcmuFormat(), g711.encode(SPOKEN, Codec.PCMU)),
    (PcmaFormat(), g711.encode(SPOKEN, Codec.PCMA)),
]


def work_off(listening: Listening) -> int:
    steps = 1
    while listening.step():
        steps += 1
    return steps


def opened(listening: Listening, options: TurnOptions | None = None) -> tuple[Ear, list[Any]]:
    told: list[Any] = []
    ear = listening.open(told.extend)
    listening.configure(ear, options or TurnOptions())
    return ear, told


@pytest.mark.parametrize(("audio_format", "audio"), LINES, ids=["pcm", "pcmu", "pcma"])
def test_turns_do_not_depend_on_how_the_audio_was_cut(audio_format: AudioFormat, audio: bytes) -> None:
    found = []
    for size in (160, 962, 4800, len(audio)):
        listening = Listening(load_silero)
        ear, told = opened(listening)
        for start in range(0, len(audio), size):
            listening.take(ear, audio[start : start + size], audio_format)
            if start // size % 3 == 0:
                listening.step()
        work_off(listening)
        found.append(told)
        assert ear.waiting_ms == pytest.approx(0, abs=0.001)
    assert [type(each) for each in found[0]] == [SpeechStarted, SpeechStopped] * 2
    assert found[0][0].start_ms == pytest.approx(500, abs=20)
    assert found[0][1].end_ms == pytest.approx(1700, abs=60)
    assert found.count(found[0]) == len(found)


def test_many_sessions_are_heard_as_one_is_and_each_its_own() -> None:
    alone = Listening(load_silero)
    _, wanted = (ear, told) = opened(alone)
    alone.take(ear, LINES[0][1], LINES[0][0])
    work_off(alone)
    listening = Listening(load_silero)
    sessions = [opened(listening) for _ in range(MAX_EARS + 6)]
    quiet, heard_by_quiet = opened(listening)
    for start in range(0, len(LINES[0][1]), 4800):
        for number, (ear, _) in enumerate(sessions):
            listening.take(ear, LINES[0][1][start : start + 4800], LINES[0][0]) if number % 2 else None
        listening.take(quiet, bytes(4800), PcmFormat())
        work_off(listening)
    for number, (_, told) in enumerate(sessions):
        assert told == (wanted if number % 2 else [])
    assert heard_by_quiet == []


@pytest.mark.parametrize("lead_ms", [50, 150])
def test_a_recording_beside_others_is_heard_as_it_is_alone(lead_ms: int) -> None:
    """Of what was made ready of a pause nothing is left when it is passed over."""
    parts = [silence(8 * lead_ms), voice(700, seed=2), silence(8 * 4500), voice(1200, seed=1), silence(8 * 1500)]
    line = g711.encode(np.concatenate(parts), Codec.PCMU)
    talk = g711.encode(np.concatenate([voice(1500, seed=seed) for seed in range(3, 9)]), Codec.PCMU)
    found = []
    for neighbours in (0, 3):
        listening = Listening(load_silero)
        others = [opened(listening)[0] for _ in range(neighbours)]
        ear, told = opened(listening)
        for other in others:
            listening.take(other, talk, PcmuFormat())
        listening.take(ear, line, PcmuFormat())
        work_off(listening)
        found.append(told)
    assert len(found[0]) == 4
    assert found[1] == found[0]


def test_a_file_lets_the_others_be_heard_meanwhile() -> None:
    listening = Listening(load_silero)
    file, _ = opened(listening)
    live, told = opened(listening)
    listening.take(file, LINES[1][1] * 20, LINES[1][0])
    listening.take(live, LINES[1][1], LINES[1][0])
    for _ in range(15):
        listening.step()
    assert [type(each) for each in told] == [SpeechStarted, SpeechStopped] * 2
    assert file.waiting_ms > 60_000
    listening.catch_up(file)
    assert file.waiting_ms == 0


def test_who_is_one_of_many_is_heard_as_soon_as_who_is_alone() -> None:
    among = Listening(load_silero)
    wishes = [TurnOptions(silence_duration_ms=300 + 10 * number) for number in range(30)]
    many = [opened(among, options) for options in wishes]
    alone = [(listening := Listening(load_silero), *opened(listening, options)) for options in wishes]
    for start in range(4000, 20_000, 8 * 139):
        piece = LINES[1][1][start : start + 8 * 139]
        for ear, _ in many:
            among.take(ear, piece, PcmuFormat())
        work_off(among)
        for listening, ear, _ in alone:
            listening.take(ear, piece, PcmuFormat())
            work_off(listening)
        assert [told for _, told in many] == [told for *_, told in alone]
    for _, told in many:
        assert [type(each) for each in told] == [SpeechStarted, SpeechStopped]


def test_a_step_is_short_however_many_speak_at_once() -> None:
    listening = Listening(load_silero)
    sessions = [opened(listening) for _ in range(3 * MAX_EARS)]
    for ear, _ in sessions:
        listening.take(ear, LINES[1][1][4000:7200], LINES[1][0])
    left = True
    most_windows, most_ms = 0, 0.0
    while left:
        judged, waiting_ms = listening.judged, sum(ear.waiting_ms for ear, _ in sessions)
        left = listening.step()
        most_windows = max(most_windows, listening.judged - judged)
        most_ms = max(most_ms, waiting_ms - sum(ear.waiting_ms for ear, _ in sessions))
    assert 0 < most_windows <= JUDGED_WINDOWS + MAX_EARS
    assert 0 < most_ms <= CONVERTED_MS + 400
    for _, told in sessions:
        assert [type(each) for each in told] == [SpeechStarted]


def test_what_happens_to_a_session_between_two_steps_leaves_it_and_the_others_in_good_order() -> None:
    """A client asks for what builds on its audio, or changes or ends its session, while all are listened to."""
    for steps in range(1, 13, 3):
        listening = Listening(load_silero)
        sessions = [opened(listening) for _ in range(6)]
        for ear, _ in sessions:
            listening.take(ear, LINES[1][1], LINES[1][0])
        for _ in range(steps):
            listening.step()
        (caught_up, told_of_it), (over, _), (off_and_on, _), *others = sessions
        listening.catch_up(caught_up)
        assert [type(each) for each in told_of_it] == [SpeechStarted, SpeechStopped] * 2
        listening.close(over)
        anew, told_anew = opened(listening)
        listening.configure(off_and_on, None)
        listening.configure(off_and_on, TurnOptions())
        for ear in (anew, off_and_on):
            listening.take(ear, LINES[1][1], LINES[1][0])
        work_off(listening)
        for told in (told_of_it, told_anew, *(told for _, told in others)):
            assert [type(each) for each in told] == [SpeechStarted, SpeechStopped] * 2
        assert told_anew == told_of_it


def test_a_session_that_is_over_takes_nothing_from_the_one_that_has_its_place_now() -> None:
    listening = Listening(load_silero)
    over, told_over = opened(listening)
    listening.take(over, LINES[1][1], LINES[1][0])
    listening.close(over)
    ear, told = opened(listening)
    listening.take(ear, LINES[1][1], LINES[1][0])
    listening.catch_up(over)
    work_off(listening)
    assert told_over == []
    assert [type(each) for each in told] == [SpeechStarted, SpeechStopped] * 2


def test_a_session_that_closes_at_what_it_is_told_leaves_its_place_in_good_order() -> None:
    listening = Listening(load_silero)
    places: list[Ear] = []
    told: list[Any] = []

    def tell(_: Any) -> None:
        if not places:
            listening.close(closing)
            places.append(listening.open(told.extend))
            listening.configure(places[0], TurnOptions())
            listening.take(places[0], LINES[1][1], LINES[1][0])

    closing = listening.open(tell)
    listening.configure(closing, TurnOptions())
    listening.take(closing, LINES[1][1], LINES[1][0])
    work_off(listening)
    assert told == []
    work_off(listening)  # What comes meanwhile waits for the next time.
    assert places[0].row == closing.row
    assert [type(each) for each in told] == [SpeechStarted, SpeechStopped] * 2


def test_another_format_goes_on_where_the_first_ended() -> None:
    listening = Listening(load_silero)
    ear, told = opened(listening)
    for audio_format, audio in LINES:
        listening.take(ear, audio, audio_format)
    work_off(listening)
    length_ms = len(SPOKEN) // 8
    starts = [each.start_ms for each in told if isinstance(each, SpeechStarted)]
    assert len(starts) == 6
    for number, start_ms in enumerate(starts):
        assert start_ms - number // 2 * length_ms == pytest.approx(starts[number % 2], abs=40)


def test_detection_that_is_switched_off_forgets_and_begins_anew_where_the_input_is() -> None:
    listening = Listening(load_silero)
    ear, told = opened(listening)
    half = len(LINES[1][1]) // 3
    listening.take(ear, LINES[1][1][:half], LINES[1][0])
    listening.configure(ear, None)
    work_off(listening)
    assert told == []
    listening.take(ear, LINES[1][1], LINES[1][0])
    assert not listening.step()
    listening.configure(ear, TurnOptions())
    listening.take(ear, LINES[1][1], LINES[1][0])
    work_off(listening)
    assert told[0].start_ms == pytest.approx(half // 8 + len(SPOKEN) // 8 + 500, abs=20)


def test_a_turn_ends_in_its_pause_when_somebody_says_so() -> None:
    listening = Listening(load_silero)
    ear, told = opened(listening, TurnOptions(silence_duration_ms=4000, pause_ms=100))
    for start in range(0, 16000, 160):
        listening.take(ear, LINES[1][1][start : start + 160], LINES[1][0])
        work_off(listening)
        if told and isinstance(told[-1], SpeechPaused):
            ear.end_turn()
    stopped = [each for each in told if isinstance(each, SpeechStopped)]
    assert stopped[0].decided_ms < 2200


def test_a_batch_of_streams_is_converted_as_each_alone() -> None:
    chance = np.random.default_rng(1)
    batch = BatchResampler(24000, 8000)
    streams = [chance.integers(-20000, 20000, 240 * count).astype(np.int16) for count in (1, 5, 2)]
    wanted = [Resampler(24000, 8000).push(stream) for stream in streams]
    whole = [np.concatenate([silence(batch.lead_samples), stream]) for stream in streams]
    blocks = [(len(each) - batch.history_samples) // 60 for each in whole]
    used = [each[: count * 60 + batch.history_samples] for each, count in zip(whole, blocks, strict=True)]
    made = batch.convert(used)
    places = [0, *itertools.accumulate(count * 20 for count in blocks)]
    for number, each in enumerate(wanted):
        part = made[places[number] : places[number + 1]]
        np.testing.assert_array_equal(part, each[: len(part)])
        assert len(part) >= len(each) - 20


# -- what is kept


def test_what_was_appended_can_be_read_back_where_it_lies() -> None:
    kept = AppendedAudio()
    audio = to_bytes(np.arange(24000, dtype=np.int16))
    kept.append(audio[:10_000], PcmFormat())
    kept.append(audio[10_000:], PcmFormat())
    assert kept.samples(0, 1000) == (audio, 24000)
    assert kept.samples(250, 500) == (audio[12_000:24_000], 24000)
    assert kept.as_sent(900, 5000, PcmFormat()) == audio[43_200:]
    assert kept.samples(2000, 3000) == (b"", 24000)


def test_a_turn_in_two_formats_is_read_at_the_better_rate() -> None:
    kept = AppendedAudio()
    kept.append(b"\xff" * 800, PcmuFormat())
    kept.append(bytes(4800), PcmFormat())
    pcm, rate_hz = kept.samples(0, 200)
    assert (len(pcm), rate_hz) == (9600, 24000)
    assert not from_bytes(pcm).any()
    assert kept.as_sent(0, 200, PcmuFormat()) == b"\xff" * 800
    assert kept.samples(0, 100) == (bytes(1600), 8000)


def test_an_open_microphone_does_not_fill_the_memory() -> None:
    kept = AppendedAudio()
    second = bytes(48_000)
    for number in range(100):
        kept.append(second, PcmFormat())
        kept.release(number * 1000)
        assert kept.kept_ms <= AFTER_MS + 2000
    assert kept.dropped_ms == 0
    for _ in range(400):
        kept.append(second, PcmFormat())
        assert kept.kept_ms <= KEPT_MS + AFTER_MS
    assert kept.kept_ms >= KEPT_MS
    assert kept.dropped_ms > 0


def test_a_client_that_changes_its_format_all_the_time_keeps_little() -> None:
    kept = AppendedAudio()
    for number in range(40):
        kept.append(b"\xff" * 800, PcmuFormat() if number % 2 else PcmaFormat())
    assert kept.kept_ms == limits.MAX_FORMAT_CHANGES * 100
