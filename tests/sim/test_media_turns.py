"""Turns as the server is told of them, with the real voice detector, on lines good and bad."""

from __future__ import annotations

import numpy as np
import pytest
from tests.media_world import Phone, World
from tests.memory_network import Weather
from tests.no_speech import SOUNDS

from offhook.audio.dtmf import dial
from offhook.audio.g711 import Codec
from offhook.audio.level import levels_dbfs
from offhook.audio.pcm import Samples, saturate, silence
from offhook.audio.turn import TurnOptions
from offhook.media.command import Direction, LegOptions
from offhook.media.edge import DtmfReceived, MediaFailed, PlayoutStopped, SpeechStarted, SpeechStopped
from offhook.media.noise import load_processors
from offhook.media.recorder import Recorder
from offhook.media.vad import load_silero
from offhook.rtp.telephone_event import TelephoneEvent, build_event
from offhook.testing.voice import voice

FRAME_MS, STEP_MS, WINDOW_MS = 20, 5, 32
TURNS = LegOptions(turns=TurnOptions())


def noise(duration_ms: int, dbfs: float, seed: int = 1) -> Samples:
    return saturate(np.random.default_rng(seed).normal(0, 32768 * 10 ** (dbfs / 20), duration_ms * 8))


def heard_world(seed: int = 1) -> World:
    return World(seed=seed, detector=load_silero())


def say(world: World, phone: Phone, sound: Samples) -> float:
    """Let a phone speak now; return when its first sample is spoken: a frame before the packet that carries it."""
    phone.say(sound)
    return phone.next_at - FRAME_MS / 1000


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("silence_duration_ms", [200, 500])
def test_a_turn_on_a_clean_line_is_told_within_a_frame_and_two_steps(seed: int, silence_duration_ms: int) -> None:
    world = heard_world(seed)
    phone, _ = world.call(options=LegOptions(turns=TurnOptions(silence_duration_ms=silence_duration_ms)))
    world.run(1000)
    began = say(world, phone, voice(1600, seed=seed))
    world.run(4000)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    assert started.at_ms == pytest.approx((began - 1000.0) * 1000, abs=40)
    assert started.audio_from_ms == started.at_ms - 300
    assert world.when(started) - began <= (60 + FRAME_MS + 2 * STEP_MS + 2 * WINDOW_MS) / 1000
    ended = began + 1.6
    assert stopped.end_ms == pytest.approx((ended - 1000.0) * 1000, abs=40)
    assert stopped.start_ms == started.at_ms
    late_ms = (world.when(stopped) - ended) * 1000 - silence_duration_ms
    assert -15 <= late_ms <= FRAME_MS + 2 * STEP_MS + 10


def test_the_sound_of_a_turn_can_be_had_by_its_times() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    world.run(1000)
    spoken = voice(1200)
    say(world, phone, spoken)
    world.run(3000)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    turn = world.plane.input_audio("leg", started.audio_from_ms, stopped.end_ms)
    lags = np.correlate(turn.astype(float), spoken[800:1600].astype(float))
    assert lags.max() > 0.9 * (spoken[800:1600].astype(float) ** 2).sum()


def test_a_long_turn_is_kept_whole_and_a_long_silence_is_not() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    world.run(60_000)
    assert len(world.plane.input_audio("leg", 0, 60_000)) <= 17_000 * 8
    for seed in range(12):
        phone.say(voice(2000, seed=seed))
    world.run(26_000)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    turn = world.plane.input_audio("leg", started.audio_from_ms, stopped.end_ms)
    assert len(turn) == (stopped.end_ms - started.audio_from_ms) * 8
    assert len(turn) >= 24_000 * 8


def test_three_turns_are_three_turns() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    world.run(500)
    for seed in (0, 2, 8):
        say(world, phone, voice(900, seed=seed))
        world.run(2500)
    assert len(world.of(SpeechStarted)) == len(world.of(SpeechStopped)) == 3


def test_a_caller_who_listened_for_half_a_minute_is_noticed_as_soon_as_one_who_did_not() -> None:
    delays = []
    for waited_ms in (1000, 30_000):
        world = heard_world()
        phone, _ = world.call(options=TURNS)
        say(world, phone, voice(900, seed=2))
        world.run(2000 + waited_ms)
        began = say(world, phone, voice(900, seed=0))
        world.run(2000)
        delays.append(world.when(world.of(SpeechStarted)[1]) - began)
    assert delays[1] <= delays[0] + 0.033


def test_false_speech_started_does_not_come_from_the_noises_of_a_line() -> None:
    thump = saturate(np.sin(2 * np.pi * 90 * np.arange(1600) / 8000) * np.exp(-np.arange(1600) / 300) * 12000)
    ring = saturate(3000 * sum(np.sin(2 * np.pi * f * np.arange(16000) / 8000) for f in (440, 480)))
    sounds = [
        noise(3000, -50),
        noise(300, -25),
        noise(5, -10),
        dial("159#0*"),
        thump,
        ring,
        saturate(noise(500, -30) * np.hanning(4000)),
        noise(3000, -35),
    ]
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    for sound in sounds:
        phone.say(np.concatenate([silence(4000), sound, silence(4000)]))
    world.run(sum(len(sound) for sound in sounds) / 8 + 1000 * len(sounds) + 500)
    assert world.of(SpeechStarted) == []


def test_on_a_noisy_line_turns_still_begin_and_end() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    line = noise(8000, -40).astype(int)
    line[24_000 : 24_000 + 1600 * 8] += voice(1600, seed=2)
    phone.say(saturate(line))
    world.run(8000)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    assert started.at_ms == pytest.approx(3000, abs=160)
    assert stopped.end_ms == pytest.approx(4600, abs=160)


@pytest.mark.parametrize("seed", range(3))
def test_a_turn_survives_a_bad_network(seed: int) -> None:
    world = heard_world(seed)
    phone, _ = world.call(options=TURNS, weather=Weather(loss=0.03, copies=0.05, delay_ms=30, jitter_ms=35))
    world.run(1000)
    began = say(world, phone, voice(1600, seed=0))
    world.run(3500)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    assert (world.when(started) - began) * 1000 <= 60 + 30 + 35 + 40 + FRAME_MS + 2 * WINDOW_MS
    assert (world.when(stopped) - began - 1.6) * 1000 <= 500 + 30 + 35 + 120 + FRAME_MS


@pytest.mark.parametrize("stall_ms", [160, 300, 1500])
def test_a_turn_survives_a_stall_of_the_server(stall_ms: int) -> None:
    world = heard_world()
    phone, _ = world.call(options=LegOptions(turns=TurnOptions(silence_duration_ms=200)))
    world.run(1000)
    say(world, phone, voice(2600, seed=0))
    world.run(900)
    world.stall(stall_ms)
    world.run(4000)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    assert stopped.end_ms - started.at_ms == pytest.approx(2600, abs=50)
    stats = world.plane.stats("leg")
    assert (stats.concealed_ms, stats.late, stats.restarts) == (0, 0, 0)


@pytest.mark.parametrize("frame_ms", [10, 30, 60])
def test_frames_of_other_lengths_make_the_same_turn(frame_ms: int) -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    phone.frame_ms = frame_ms
    world.run(1000)
    began = phone.next_at - frame_ms / 1000
    phone.say(voice(1600, seed=0))
    world.run(3500)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    assert started.at_ms == pytest.approx((began - 1000) * 1000, abs=40 + frame_ms)
    assert stopped.end_ms - started.at_ms == pytest.approx(1600, abs=50)


def test_calls_in_both_laws_are_heard_side_by_side() -> None:
    world = heard_world()
    phones = []
    for index in range(12):
        codec = Codec.PCMA if index % 3 == 0 else Codec.PCMU
        phones.append(world.call(f"leg{index}", TURNS, codecs=((int(codec), codec),))[0])
    world.run(1000)
    for index, phone in enumerate(phones):
        if index % 2:
            phone.say(voice(1000, seed=index))
    world.run(2500)
    assert {edge.leg for edge in world.of(SpeechStarted)} == {f"leg{index}" for index in range(1, 12, 2)}
    assert len(world.of(SpeechStopped)) == 6


def test_barge_in_stops_the_answer_and_tells_what_was_heard_of_it() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    world.plane.play("leg", 0, voice(8000, seed=5), 8000)
    world.run(2000)
    began = say(world, phone, voice(1200, seed=0))
    while not world.of(SpeechStarted):
        world.run(5)
    world.plane.stop_playout("leg")
    world.run(1000)
    (stopped,) = world.of(PlayoutStopped)
    assert (world.when(stopped) - began) * 1000 <= 60 + FRAME_MS + 3 * STEP_MS + 2 * WINDOW_MS
    loud = [packet for packet in phone.packets if packet.payload.count(0xFF) < 80]
    assert loud[-1].at <= world.when(stopped)


def test_turn_detection_can_be_switched_off_and_on_and_changed() -> None:
    world = heard_world()
    phone, _ = world.call(options=LegOptions(turns=None))
    world.run(500)
    say(world, phone, voice(800))
    world.run(1800)
    assert world.of(SpeechStarted) == []
    assert world.plane.load().vad_judged == 0
    world.plane.configure_turns("leg", TurnOptions(silence_duration_ms=200))
    say(world, phone, voice(800))
    world.run(1500)
    assert len(world.of(SpeechStopped)) == 1
    say(world, phone, voice(800))
    world.run(500)
    world.plane.configure_turns("leg", None)
    world.run(2000)
    assert len(world.of(SpeechStarted)) == 2
    assert len(world.of(SpeechStopped)) == 1


def test_a_plane_without_a_detector_carries_calls_all_the_same() -> None:
    world = World()
    phone, _ = world.call(options=TURNS)
    phone.say(voice(1500))
    world.run(3000)
    assert world.of(SpeechStarted) == []
    assert len(phone.packets) > 140


def test_a_line_with_nothing_on_it_costs_the_detector_nothing() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    phone.say(noise(30_000, -66))
    world.run(10_000)
    load = world.plane.load()
    assert load.vad_judged <= 20
    assert load.vad_skipped >= 280
    assert load.vad_queued == 0


def test_a_hold_in_mid_turn_ends_it() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    world.run(500)
    say(world, phone, voice(5000))
    world.run(1000)
    world.direct(Direction.INACTIVE)
    world.run(2000)
    assert len(world.of(SpeechStarted)) == len(world.of(SpeechStopped)) == 1


def test_rows_of_ended_calls_are_used_again() -> None:
    world = heard_world()
    for index in range(20):
        phone, _ = world.call(f"leg{index}", TURNS)
        world.run(300)
        say(world, phone, voice(700))
        world.run(1600)
        world.plane.close_leg(f"leg{index}")
        world.phones.remove(phone)
        world.run(20)
    assert world.plane._hearing._rows == 1
    assert len(world.of(SpeechStopped)) == 20


@pytest.mark.skipif(load_processors() is None, reason="noise reduction is not installed: offhook[noise]")
def test_noise_is_taken_from_what_is_heard_but_not_from_what_is_recorded_and_changes_in_mid_call() -> None:
    make = load_processors()
    assert make is not None
    world = heard_world()
    recorder = Recorder()
    phone, _ = world.call(options=LegOptions(turns=TurnOptions(), recorder=recorder))
    phone.say(noise(12_000, -40.0))

    def level(from_ms: int) -> float:
        heard = world.plane.input_audio("leg", from_ms, from_ms + 1000)
        return float(np.median(levels_dbfs(heard)))

    world.run(3500)
    world.plane.reduce_noise("leg", make(4))
    world.run(4000)
    world.plane.reduce_noise("leg", None)
    world.run(3000)
    assert level(2000) == pytest.approx(-40, abs=1)
    assert level(6000) <= -50, "cleaned"
    assert level(9000) == pytest.approx(-40, abs=1)
    recorded = recorder.stereo()[6000 * 8 : 7000 * 8, 0]
    assert float(np.median(levels_dbfs(recorded))) == pytest.approx(-40, abs=1)
    assert not world.of(MediaFailed)


@pytest.mark.skipif(load_processors() is None, reason="noise reduction is not installed: offhook[noise]")
def test_a_turn_in_cleaned_sound_is_dated_as_ever() -> None:
    make = load_processors()
    assert make is not None
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    world.plane.reduce_noise("leg", make(2))
    world.run(1000)
    began = say(world, phone, voice(1600))
    world.run(4000)
    (started,), (stopped,) = world.of(SpeechStarted), world.of(SpeechStopped)
    assert started.at_ms == pytest.approx((began - 1000.0) * 1000, abs=50)
    assert stopped.end_ms == pytest.approx((began - 1000.0 + 1.6) * 1000, abs=60)


@pytest.mark.parametrize("codec", list(Codec))
@pytest.mark.parametrize("name", SOUNDS)
def test_what_is_no_speech_begins_no_turn(name: str, codec: Codec) -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS, codecs=((codec, codec),))
    world.run(500)
    phone.say(SOUNDS[name](8.0))
    world.run(9000)
    assert not world.of(SpeechStarted)


def test_comfort_noise_and_keys_begin_no_turn() -> None:
    world = heard_world()
    phone, _ = world.call(options=TURNS)
    world.run(500)
    phone.talking = False  # RFC 3389: now and then a packet tells how soft the noise is that is not sent
    for _ in range(10):
        phone.send(13, bytes([60]))
        world.run(400)
    phone.talking = True
    for code in (1, 11):
        stamp = phone.timestamp
        for index, duration in enumerate([160, 320, 480, 480, 480]):
            phone.send(101, build_event(TelephoneEvent(code, index >= 2, 10, duration)), timestamp=stamp)
            world.run(20)
    world.run(2000)
    assert [edge.digit for edge in world.of(DtmfReceived)] == ["1", "#"]
    assert not world.of(SpeechStarted)
