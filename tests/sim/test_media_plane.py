"""Calls on the plane, in memory, on a clock that jumps: what callers hear, what the server is told."""

from __future__ import annotations

import numpy as np
import pytest
from tests.media_world import Phone, World
from tests.memory_network import MemoryPort, Weather

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import silence
from offhook.audio.tone import find_tones, tone
from offhook.media import limits
from offhook.media.command import Direction, LegOptions, Negotiated
from offhook.media.edge import (
    DtmfReceived,
    DtmfSent,
    LegClosed,
    LegOpened,
    MediaFailed,
    MediaStarted,
    MediaTimedOut,
    Played,
    PlayoutFinished,
    PlayoutStarted,
    PlayoutStopped,
)
from offhook.media.plane import MediaError
from offhook.media.recorder import Recorder
from offhook.rtp.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, SourceDescription, build_rtcp
from offhook.rtp.telephone_event import TelephoneEvent, build_event, parse_event

SILENT_FRAME = Codec.PCMU.silence * 160


def voices(phone: Phone) -> list[bytes]:
    """The payloads of voice that a phone got."""
    return [packet.payload for packet in phone.packets if packet.payload_type in {0, 8}]


def press(phone: Phone, code: int, *, marker: bool = True, lose: frozenset[int] = frozenset()) -> None:
    """Press a key for 100 ms the way a carrier does."""
    for index, duration in enumerate([160, 320, 480, 640, 800, 800, 800]):
        payload = build_event(TelephoneEvent(code, index >= 4, 10, duration))
        if index in lose:
            phone.sequence += 1
        else:
            phone.send(101, payload, marker=marker and index == 0)


@pytest.mark.parametrize("rest_ms", [1, 7, 250, 9999])
def test_a_call_after_a_rest_begins_as_any_other(rest_ms: float) -> None:
    world = World()
    world.run(30)
    world.rest(rest_ms)
    phone, _ = world.call()
    world.plane.rest(60.0)  # Ends at once, since a command waits.
    world.plane.play("leg", 0, tone(3, 400), 8000)
    world.run(1000)
    gaps = np.diff([packet.at for packet in phone.packets])
    assert gaps.max() == pytest.approx(0.02, abs=0.001)
    assert gaps.min() == pytest.approx(0.02, abs=0.001)
    assert [found.number for found in phone.tones] == [3]
    load = world.plane.load()
    assert (load.skipped_frames, load.late_max_ms) == (0, 0.0)


# -- sound to the caller ----------------------------------------------------------------------------------------------


def test_a_caller_hears_silence_frames_every_20_ms_from_the_start() -> None:
    world = World()
    phone, _ = world.call()
    world.run(1000)
    gaps = np.diff([packet.at for packet in phone.packets])
    assert len(phone.packets) == pytest.approx(50, abs=1)
    assert gaps == pytest.approx(np.full(len(gaps), 0.02), abs=1e-6)
    assert set(voices(phone)) == {SILENT_FRAME}
    assert [packet.marker for packet in phone.packets] == [True] + [False] * (len(phone.packets) - 1)
    assert len({packet.ssrc for packet in phone.packets}) == 1
    assert set(np.diff([packet.timestamp for packet in phone.packets])) == {160}
    assert set(np.diff([packet.sequence for packet in phone.packets])) == {1}


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000])
def test_a_run_is_heard_whole_and_counted_to_the_sample(rate_hz: int) -> None:
    world = World()
    phone, _ = world.call()
    world.run(200)
    world.plane.play("leg", 0, tone(5, 777, rate_hz), rate_hz)
    world.plane.finish_run("leg", 0)
    world.run(1500)
    (heard,) = phone.tones
    assert (heard.number, heard.longest_gap_ms) == (5, 0)
    assert heard.end_ms - heard.start_ms == pytest.approx(777, abs=20)
    (finished,) = world.of(PlayoutFinished)
    assert finished.played_ms == 777
    (started,) = world.of(PlayoutStarted)
    assert finished.at_ms - started.at_ms == 777
    assert [edge.played_ms for edge in world.of(Played)] == [100, 200, 300, 400, 500, 600, 700]
    assert world.when(started) == pytest.approx(1000.0 + started.at_ms / 1000, abs=0.0051)


def test_playout_starts_within_one_tick_of_the_command() -> None:
    world = World()
    world.call()
    world.run(213)
    world.plane.play("leg", 0, tone(5, 500), 8000)
    asked = world.now
    world.run(100)
    (started,) = world.of(PlayoutStarted)
    assert world.when(started) - asked <= 0.025


@pytest.mark.parametrize("offset_ms", [0, 3, 7, 11, 14, 19])
def test_a_stop_is_obeyed_within_one_step(offset_ms: int) -> None:
    world = World()
    phone, _ = world.call()
    world.plane.play("leg", 0, np.full(80_000, 9000, dtype=np.int16), 8000)
    world.run(1000 + offset_ms)
    said_before = sum(payload != SILENT_FRAME for payload in voices(phone))
    world.plane.stop_playout("leg")
    stopped_at = world.now
    world.run(500)
    (stopped,) = world.of(PlayoutStopped)
    assert world.when(stopped) - stopped_at <= limits.STEP_S + 1e-6
    said = [packet for packet in phone.packets if packet.payload != SILENT_FRAME]
    assert all(packet.at <= stopped_at + 1e-6 for packet in said)
    assert len(said) == said_before
    assert stopped.played_ms == 20 * len(said)
    assert world.of(PlayoutFinished) == []


def test_played_is_exact_though_steps_come_late() -> None:
    world = World(seed=3)
    phone, _ = world.call()
    world.run(100)
    world.plane.play("leg", 0, np.full(24_000, 9000, dtype=np.int16), 8000)
    for _ in range(200):  # Up to 60 ms late, then on time again.
        world.network.now += world.network.random.random() * 0.06
        world._step_at = world.plane.step(world.network.now)
        phone.listen()
        said = sum(payload != SILENT_FRAME for payload in voices(phone))
        told = [edge.played_ms for edge in world.of(Played)]
        assert not told or told[-1] <= said * 20 < told[-1] + 100
    world.plane.finish_run("leg", 0)
    world.run(3000)
    (finished,) = world.of(PlayoutFinished)
    assert finished.played_ms == 3000
    assert sum(payload != SILENT_FRAME for payload in voices(phone)) == 150


def test_the_marker_shows_the_start_of_talk_after_silence() -> None:
    world = World()
    phone, _ = world.call()
    world.run(300)
    world.plane.play("leg", 0, tone(1, 100), 8000)
    world.plane.finish_run("leg", 0)
    world.run(500)
    marked = [index for index, packet in enumerate(phone.packets) if packet.marker]
    first_talk = next(index for index, payload in enumerate(voices(phone)) if payload != SILENT_FRAME)
    assert marked == [0, first_talk]


def test_two_or_three_calls_at_once_do_not_lag() -> None:
    world = World()
    phones = []
    for number in range(24):
        phones.append(world.call(f"leg{number}")[0])
        world.run(7)
    world.run(100)
    asked = world.now
    for number in range(24):
        world.plane.play(f"leg{number}", 0, tone(number, 2000, 24000), 24000)
        world.plane.finish_run(f"leg{number}", 0)
    world.run(2500)
    for number, phone in enumerate(phones):
        (heard,) = phone.tones
        assert (heard.number, heard.longest_gap_ms) == (number, 0)
        first = next(packet for packet in phone.packets if packet.payload != SILENT_FRAME)
        assert first.at - asked <= 0.021
    sizes = [len(group) for group in world.plane._groups]
    assert sizes == [6, 6, 6, 6]


def test_after_a_stall_the_newest_frames_are_sent_and_the_clock_is_right() -> None:
    world = World()
    phone, _ = world.call()
    world.run(200)
    before = len(phone.packets)
    world.network.now += 0.4
    world._step_at = world.plane.step(world.network.now)
    phone.listen()
    assert len(phone.packets) - before == limits.CATCH_UP_FRAMES
    assert world.plane.load().skipped_frames == pytest.approx(15, abs=1)
    world.run(100)
    for packet in phone.packets[-3:]:
        assert (packet.timestamp - phone.packets[0].timestamp) / 8 == pytest.approx(
            (packet.at - phone.packets[0].at) * 1000, abs=1
        )


def test_an_hour_of_sleep_of_the_machine_is_not_made_up_for() -> None:
    world = World()
    phone, _ = world.call()
    world.run(200)
    before = len(phone.packets)
    world.network.now += 3600
    phone.next_at += 3600
    world._step_at = world.plane.step(world.network.now)
    world.run(100)
    assert len(phone.packets) - before <= 7
    assert world.of(MediaTimedOut) == []
    (opened,) = world.of(LegOpened)
    assert opened.opened_at == 1000.0


# -- sound from the caller --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_ms", [10, 20, 30, 40, 60])
@pytest.mark.parametrize("codec", list(Codec))
def test_what_a_caller_says_is_kept_at_its_time(frame_ms: int, codec: Codec) -> None:
    world = World()
    phone, _ = world.call(codecs=((int(codec), codec),))
    phone.frame_ms = frame_ms
    world.run(500)
    said_at_ms = (phone.next_at - 1000.0) * 1000
    phone.say(tone(8, 600))
    world.run(1000)
    line = world.plane.input_audio("leg", 0, 1400)
    (heard,) = find_tones(line)
    assert heard.number == 8
    # A frame is sent when it is full, so what it begins with was spoken a frame before it arrives. The very first one
    # may have begun before the leg did; the line is then ahead by as much.
    assert said_at_ms - frame_ms - 10 <= heard.start_ms <= said_at_ms + 10
    assert heard.longest_gap_ms == 0
    part = world.plane.input_audio("leg", heard.start_ms, heard.end_ms)
    assert len(part) == (heard.end_ms - heard.start_ms) * 8


def test_the_first_packet_is_told_once() -> None:
    world = World()
    phone, _ = world.call()
    phone.talking = False
    world.run(300)
    assert world.of(MediaStarted) == []
    phone.talking = True
    world.run(300)
    (started,) = world.of(MediaStarted)
    assert 300 <= started.at_ms <= 325


@pytest.mark.parametrize(
    "weather",
    [
        Weather(loss=0.03),
        Weather(loss=0.01, copies=0.1, delay_ms=40, jitter_ms=35),
        Weather(delay_ms=150, jitter_ms=60),
        Weather(copies=0.5),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_bad_lines_leave_no_gap_over_40_ms(weather: Weather, seed: int) -> None:
    world = World(seed=seed)
    phone, _ = world.call(weather=weather)
    phone.say(np.concatenate([tone(n, 400) for n in (2, 9, 16)]))
    world.run(2500)
    heard = [each for each in find_tones(world.plane.input_audio("leg", 0, 2300)) if each.end_ms - each.start_ms > 60]
    assert [each.number for each in heard] == [2, 9, 16]
    assert max(each.longest_gap_ms for each in heard) <= 40
    line = world.plane.input_audio("leg", 0, 100_000)
    assert len(line) / 8 == pytest.approx(2500 - weather.delay_ms, abs=140 + weather.delay_ms)


def test_lost_packets_are_counted_and_concealed() -> None:
    world = World(seed=5)
    phone, _ = world.call(weather=Weather(loss=0.05))
    world.run(10_000)
    stats = world.plane.stats("leg")
    assert stats.lost == pytest.approx(25, abs=12)
    assert stats.concealed_ms == 20 * stats.lost
    assert stats.received + stats.lost == pytest.approx(phone.sequence - 1000, abs=2)


def test_comfort_noise_is_silence_and_not_loss() -> None:
    world = World()
    phone, _ = world.call()
    world.run(200)
    phone.talking = False
    for _ in range(10):
        phone.send(13, b"\x50")
        world.run(100)
    phone.talking = True
    phone.marker = True
    phone.say(tone(3, 300))
    world.run(500)
    stats = world.plane.stats("leg")
    assert (stats.lost, stats.rejected, stats.late) == (0, 0, 0)
    (heard,) = find_tones(world.plane.input_audio("leg", 0, 100_000))
    assert heard.number == 3


def test_media_are_heard_again_after_ssrc_port_and_sequence_changed_in_a_failover() -> None:
    world = World()
    phone, _ = world.call()
    phone.say(tone(1, 400))
    world.run(600)
    phone.talking = False
    other = world.phone(phone.target, host="198.51.100.9")
    other.ssrc, other.sequence, other.timestamp = 0x7777, 9, 4_000_000_000
    agreed = Negotiated(other.port.address)
    world.plane.update_leg("leg", agreed)
    other.say(tone(2, 400))
    world.plane.play("leg", 0, tone(9, 300), 8000)
    world.run(800)
    heard = find_tones(world.plane.input_audio("leg", 0, 100_000))
    assert [each.number for each in heard] == [1, 2]
    assert [each.number for each in other.tones] == [9]
    assert world.plane.stats("leg").source_changes == 1


def test_a_new_ssrc_from_the_same_phone_is_heard_without_signalling() -> None:
    world = World()
    phone, _ = world.call()
    phone.say(tone(1, 400))
    world.run(600)
    phone.ssrc, phone.sequence, phone.timestamp = 5, 60_000, 17
    phone.say(tone(2, 400))
    world.run(600)
    heard = find_tones(world.plane.input_audio("leg", 0, 100_000))
    assert [each.number for each in heard] == [1, 2]
    assert world.plane.stats("leg").lost == 0


def test_a_strangers_rtp_is_dropped() -> None:
    world = World()
    phone, _ = world.call()
    world.run(300)
    stranger = world.phone(phone.target, host="203.0.113.66")
    stranger.say(tone(20, 2000))
    world.run(1000)
    assert find_tones(world.plane.input_audio("leg", 0, 100_000)) == []
    assert stranger.packets == []
    assert world.plane.stats("leg").strangers == pytest.approx(50, abs=2)


def test_an_old_caller_is_never_heard_in_a_new_call() -> None:
    world = World()
    pair = world.pair()
    old = world.phone(pair.rtp.address[:2])
    old.say(tone(20, 5000))
    world.run(400)  # The old caller talks on while the port waits for its new call.
    new = world.phone(pair.rtp.address[:2])
    world.plane.open_leg("new", pair, Negotiated(new.port.address))
    new.say(tone(4, 600))
    world.run(1000)
    heard = find_tones(world.plane.input_audio("new", 0, 100_000))
    assert [each.number for each in heard] == [4]


def test_packets_of_types_that_were_not_agreed_are_refused() -> None:
    world = World()
    phone, _ = world.call(codecs=((0, Codec.PCMU),))
    world.run(100)
    for payload_type in (8, 9, 18, 96, 127):
        phone.send(payload_type, b"\x00" * 160)
    phone.send(0, b"\x00" * 1601)
    phone.port.send(b"\x40garbage that is not rtp", phone.target)
    phone.port.send(b"", phone.target)
    world.run(100)
    assert world.plane.stats("leg").rejected == 8


# -- keys -------------------------------------------------------------------------------------------------------------


def test_digits_lost_when_the_carrier_omits_the_marker_bit_are_heard() -> None:
    world = World()
    phone, _ = world.call()
    world.run(200)
    for code in (1, 2, 2, 11):
        press(phone, code, marker=False, lose=frozenset({0, 1, 5}))
        world.run(300)
    assert [edge.digit for edge in world.of(DtmfReceived)] == ["1", "2", "2", "#"]
    first = world.of(DtmfReceived)[0]
    assert first.at_ms == pytest.approx(200, abs=6)
    assert world.plane.stats("leg").keys == 4


def test_keys_leave_no_sound_in_the_input() -> None:
    world = World()
    phone, _ = world.call()
    world.run(200)
    phone.talking = False
    press(phone, 5)
    world.run(200)
    phone.talking = True
    world.run(300)
    assert not np.abs(world.plane.input_audio("leg", 0, 100_000)).max() > 8


def test_keys_are_sent_as_events_and_what_plays_waits() -> None:
    world = World()
    phone, _ = world.call()
    world.plane.play("leg", 0, tone(3, 1000), 8000)
    world.plane.finish_run("leg", 0)
    world.run(300)
    world.plane.send_dtmf("leg", "4#", 100)
    world.run(2500)
    events = [packet for packet in phone.packets if packet.payload_type == 101]
    parsed = [parse_event(packet.payload) for packet in events]
    assert [event.code for event in parsed if event] == [4] * 7 + [11] * 7
    assert [packet.marker for packet in events] == ([True] + [False] * 6) * 2
    assert [event.end for event in parsed if event] == ([False] * 4 + [True] * 3) * 2
    assert len({packet.timestamp for packet in events}) == 2
    sequences = [packet.sequence for packet in phone.packets]
    assert set(np.diff(sequences)) == {1}
    (finished,) = world.of(PlayoutFinished)
    assert finished.played_ms == 1000
    (sent,) = world.of(DtmfSent)
    assert sent.digits == "4#"
    assert sum(payload != SILENT_FRAME for payload in voices(phone)) == 50


def test_keys_are_sent_as_sound_to_a_peer_without_events() -> None:
    world = World()
    phone, _ = world.call(telephone_event_type=None)
    world.run(100)
    world.plane.send_dtmf("leg", "7", 200)
    world.run(600)
    sound = g711.decode(b"".join(payload for payload in voices(phone) if payload != SILENT_FRAME), Codec.PCMU)
    spectrum = np.abs(np.fft.rfft(sound[:1600]))
    assert np.sort(spectrum.argsort()[-2:] * 5) == pytest.approx([852, 1209], abs=5)
    assert len(world.of(DtmfSent)) == 1


def test_a_key_that_is_none_is_refused() -> None:
    world = World()
    for digits in ("", "x", "1,2"):
        with pytest.raises(MediaError, match="cannot press"):
            world.plane.send_dtmf("leg", digits)


# -- hold, time-out, end ----------------------------------------------------------------------------------------------


def test_on_hold_nothing_is_sent_and_the_run_goes_on_afterwards() -> None:
    world = World()
    phone, _ = world.call()
    world.plane.play("leg", 0, tone(3, 1000), 8000)
    world.plane.finish_run("leg", 0)
    world.run(400)
    world.direct(Direction.INACTIVE)
    world.run(10)
    held = len(phone.packets)
    world.run(2000)
    assert len(phone.packets) == held
    world.direct(Direction.SENDRECV)
    world.run(1500)
    (finished,) = world.of(PlayoutFinished)
    assert finished.played_ms == 1000
    resumed = phone.packets[held]
    assert resumed.marker
    assert resumed.timestamp - phone.packets[held - 1].timestamp >= 2000 * 8
    assert resumed.sequence - phone.packets[held - 1].sequence == 1


def test_a_caller_who_falls_silent_is_missed_after_30_s_once() -> None:
    world = World()
    phone, _ = world.call()
    world.run(1000)
    phone.talking = False
    world.run(29_900)
    assert world.of(MediaTimedOut) == []
    world.run(100 + limits.ATTEND_S * 1000 + 20)
    (timed_out,) = world.of(MediaTimedOut)
    assert timed_out.after_s == 30.0
    world.run(60_000)
    assert len(world.of(MediaTimedOut)) == 1
    phone.talking = True
    world.run(1000)
    phone.talking = False
    world.run(31_000)
    assert len(world.of(MediaTimedOut)) == 2


def test_a_caller_who_never_sent_anything_is_missed_too() -> None:
    world = World()
    phone, _ = world.call(options=LegOptions(media_timeout_s=5.0))
    phone.talking = False
    world.run(5100)
    assert len(world.of(MediaTimedOut)) == 1


@pytest.mark.parametrize("how", ["hold", "off"])
def test_nobody_is_missed_on_hold_or_when_it_is_switched_off(how: str) -> None:
    world = World()
    phone, _ = world.call(options=LegOptions(media_timeout_s=None if how == "off" else 30.0))
    world.run(500)
    if how == "hold":
        world.direct(Direction.SENDONLY)
    phone.talking = False
    world.run(100_000)
    assert world.of(MediaTimedOut) == []
    if how == "hold":
        world.direct(Direction.SENDRECV)
        world.run(29_000)
        assert world.of(MediaTimedOut) == []
        world.run(2000)
        assert len(world.of(MediaTimedOut)) == 1


@pytest.mark.parametrize("held", [Direction.RECVONLY, Direction.INACTIVE])
def test_a_caller_who_holds_without_music_is_not_missed(held: Direction) -> None:
    """Users' complaint: hold that outlasts the media time-out ends the call."""
    world = World()
    phone, _ = world.call()
    world.run(500)
    on_hold = Negotiated(phone.port.address, direction=held)
    world.plane.update_leg("leg", on_hold)
    phone.talking = False
    world.run(100_000)
    assert world.of(MediaTimedOut) == []
    world.plane.update_leg("leg", Negotiated(phone.port.address))
    world.run(31_000)
    assert len(world.of(MediaTimedOut)) == 1


def test_a_caller_who_sends_reports_but_no_sound_is_not_missed() -> None:
    world = World()
    phone, pair = world.call()
    world.run(500)
    phone.talking = False
    for _ in range(20):
        phone.control.send(build_rtcp([ReceiverReport(phone.ssrc, ())]), pair.rtcp.address)
        world.run(5000)
    assert world.of(MediaTimedOut) == []
    world.run(31_000)
    assert len(world.of(MediaTimedOut)) == 1


def test_reports_of_strangers_do_not_stand_for_the_caller() -> None:
    world = World()
    phone, pair = world.call()
    stranger = world.phone(pair.rtp.address[:2])
    phone.talking = stranger.talking = False
    for _ in range(7):
        stranger.control.send(build_rtcp([ReceiverReport(phone.ssrc, ())]), pair.rtcp.address)
        world.run(5000)
    assert len(world.of(MediaTimedOut)) == 1


def test_the_end_says_goodbye_closes_the_ports_and_sums_up() -> None:
    world = World()
    phone, pair = world.call()
    world.plane.play("leg", 7, tone(3, 5000), 8000)
    world.run(1000)
    world.plane.close_leg("leg")
    world.plane.close_leg("leg")
    world.run(100)
    goodbyes = [report for report in phone.reports if isinstance(report, Goodbye)]
    assert goodbyes == [Goodbye((phone.packets[0].ssrc,))]
    assert pair.closed_at == pytest.approx(world.now - 0.1, abs=0.006)
    assert isinstance(world.edges[-1], LegClosed)
    assert world.edges[-1].stats.sent == len(phone.packets)
    said = sum(payload != SILENT_FRAME for payload in voices(phone))
    assert [(edge.run, edge.played_ms) for edge in world.of(PlayoutStopped)] == [(7, 20 * said)]
    assert world.plane.load().legs == 0
    with pytest.raises(MediaError, match="not open"):
        world.plane.stats("leg")
    with pytest.raises(MediaError, match="not open"):
        world.plane.input_audio("leg", 0, 100)


def test_what_a_caller_said_last_can_be_had_after_the_end() -> None:
    world = World()
    pair = world.pair()
    phone = world.phone(pair.rtp.address[:2])
    audio = world.plane.open_leg("leg", pair, Negotiated(phone.port.address))
    phone.say(tone(6, 500))
    world.run(700)
    world.plane.close_leg("leg")
    world.run(100)
    assert [each.number for each in find_tones(audio.read(0, 100_000))] == [6]


def test_commands_to_a_leg_that_has_ended_do_nothing() -> None:
    world = World()
    world.plane.play("ghost", 0, silence(100), 8000)
    world.plane.finish_run("ghost", 0)
    world.plane.stop_playout("ghost")
    world.plane.configure_turns("ghost", None)
    world.plane.update_leg("ghost", Negotiated(None))
    world.plane.close_leg("ghost")
    world.run(100)
    assert world.edges == []


def test_a_second_leg_of_the_same_name_is_refused_and_its_ports_given_back() -> None:
    world = World()
    world.call()
    _, second = world.call()
    world.run(100)
    assert [edge.leg for edge in world.of(MediaFailed)] == ["leg"]
    assert second.closed_at is not None
    assert world.plane.load().legs == 1


def test_a_leg_that_breaks_does_not_take_the_others_with_it() -> None:
    class BrokenPort(MemoryPort):
        def send(self, data: bytes, to: object, /) -> None:
            raise RuntimeError("a bug")

    world = World()
    good, _ = world.call("good")
    world.run(100)
    pair = world.pair()
    pair.rtp = BrokenPort(world.network, pair.rtp.address)
    world.plane.open_leg("bad", pair, Negotiated(("192.0.2.99", 4000)))
    world.run(500)
    assert [(edge.leg, edge.reason) for edge in world.of(MediaFailed)] == [("bad", "RuntimeError")]
    assert pair.closed_at is not None
    assert len(good.packets) == pytest.approx(30, abs=1)
    assert world.plane.load().failures == 1


def test_a_leg_that_cannot_even_begin_gives_its_ports_back() -> None:
    class BrokenPort(MemoryPort):
        def receive(self) -> tuple[bytes, tuple[str, int]]:
            raise TypeError("a bug")

    world = World()
    good, _ = world.call("good")
    pair = world.pair()
    pair.rtp = BrokenPort(world.network, pair.rtp.address)
    world.plane.open_leg("bad", pair, Negotiated(("192.0.2.99", 4000)))
    world.run(500)
    assert [(edge.leg, edge.reason) for edge in world.of(MediaFailed)] == [("bad", "TypeError")]
    assert pair.closed_at is not None
    assert world.plane.load().legs == world.plane.load().failures == 1
    assert len(good.packets) == pytest.approx(25, abs=1)


@pytest.mark.parametrize("breaks_by", ["sending", "closing"])
def test_a_leg_that_cannot_even_say_goodbye_gives_its_ports_back(breaks_by: str) -> None:
    class BrokenPort(MemoryPort):
        def send(self, data: bytes, to: object, /) -> None:
            raise TypeError("a bug")

    world = World()
    good, _ = world.call("good")
    pair = world.pair()
    pair.rtcp = BrokenPort(world.network, pair.rtcp.address)
    if breaks_by == "sending":
        pair.rtp = BrokenPort(world.network, pair.rtp.address)
    world.plane.open_leg("bad", pair, Negotiated(("192.0.2.99", 4000)))
    world.run(500)
    world.plane.close_leg("bad")
    world.run(500)
    assert pair.closed_at is not None
    assert [edge.leg for edge in world.of(LegClosed)] == ["bad"]
    assert len(world.of(MediaFailed)) == world.plane.load().failures == 1
    assert world.plane.load().legs == 1
    assert len(good.packets) == pytest.approx(50, abs=1)


def test_a_network_that_refuses_to_send_is_counted_and_survived() -> None:
    class UnreachablePort(MemoryPort):
        def send(self, data: bytes, to: object, /) -> None:
            raise OSError("network is unreachable")

    world = World()
    pair = world.pair()
    pair.rtp = UnreachablePort(world.network, pair.rtp.address)
    pair.rtcp = UnreachablePort(world.network, pair.rtcp.address)
    world.plane.open_leg("leg", pair, Negotiated(("192.0.2.99", 4000)))
    world.run(6000)
    stats = world.plane.stats("leg")
    assert stats.send_errors >= stats.sent == pytest.approx(300, abs=2)


def test_a_leg_whose_address_is_not_known_yet_sends_when_it_hears() -> None:
    world = World()
    pair = world.pair()
    phone = world.phone(pair.rtp.address[:2])
    world.plane.open_leg("leg", pair, Negotiated(None))
    phone.talking = False
    world.run(200)
    assert phone.packets == []
    phone.talking = True
    world.run(200)
    assert len(phone.packets) == pytest.approx(9, abs=2)


def test_the_queue_of_commands_is_bounded() -> None:
    world = World()
    for _ in range(limits.COMMANDS):
        world.plane.close_leg("leg")
    with pytest.raises(MediaError, match="does not keep up"):
        world.plane.close_leg("leg")
    world.run(100)
    world.plane.close_leg("leg")


def test_sound_that_cannot_be_played_is_refused_in_the_callers_thread() -> None:
    world = World()
    with pytest.raises(MediaError, match="44001"):
        world.plane.play("leg", 0, b"", 44001)
    with pytest.raises(MediaError, match="run -1"):
        world.plane.play("leg", -1, b"", 8000)
    with pytest.raises(MediaError, match="no codec"):
        world.plane.open_leg("leg", world.pair(), Negotiated(None, codecs=()))
    with pytest.raises(MediaError, match="no codec"):
        world.plane.update_leg("leg", Negotiated(None, codecs=()))


def test_closing_the_plane_closes_every_leg() -> None:
    world = World()
    pairs = [world.call(f"leg{number}")[1] for number in range(3)]
    world.run(50)
    late = world.call("late")[1]
    world.plane.close(world.now)
    assert all(pair.closed_at is not None for pair in [*pairs, late])
    assert len(world.of(LegClosed)) == 4


# -- reports ----------------------------------------------------------------------------------------------------------


def test_reports_are_sent_every_five_seconds_or_so_and_are_right() -> None:
    world = World(seed=4)
    phone, _ = world.call(weather=Weather(loss=0.1))
    world.run(60_000)
    reports = [report for report in phone.reports if isinstance(report, SenderReport)]
    assert 60 / 7.5 <= len(reports) <= 60 / 2.5
    names = [report for report in phone.reports if isinstance(report, SourceDescription)]
    assert names[0] == SourceDescription(((phone.packets[0].ssrc, b"offhook"),))
    last = reports[-1]
    assert last.ssrc == phone.packets[0].ssrc
    assert last.octets == last.packets * 160
    (block,) = last.blocks
    assert block.ssrc == phone.ssrc
    assert block.cumulative_lost == pytest.approx(0.1 * (block.highest_sequence - 1000), rel=0.3)
    # The RTP and the NTP time of a report are the same instant.
    first = reports[0]
    elapsed = (last.ntp - first.ntp) / 2**32
    assert (last.timestamp - first.timestamp & 0xFFFFFFFF) / 8000 == pytest.approx(elapsed, abs=0.001)


def test_the_callers_reports_give_its_loss_and_the_round_trip() -> None:
    world = World()
    phone, pair = world.call(weather=Weather(delay_ms=45))
    world.run(6000)
    report = next(report for report in phone.reports if isinstance(report, SenderReport))
    heard_at = world.now
    world.run(300)
    delay = int((world.now - heard_at) * 65536)
    waited = int(0.0 * 65536) + delay
    block = ReportBlock(report.ssrc, 26, 12, 99, 80, report.ntp >> 16 & 0xFFFFFFFF, waited)
    phone.control.send(build_rtcp([ReceiverReport(phone.ssrc, (block,))]), pair.rtcp.address)
    world.run(100)
    stats = world.plane.stats("leg")
    assert (stats.far_lost, stats.far_jitter_ms) == (12, 10.0)
    assert stats.far_fraction_lost == pytest.approx(0.1, abs=0.01)
    assert stats.round_trip_ms is not None
    sent_at = report.ntp / 2**32
    assert stats.round_trip_ms == pytest.approx((heard_at - sent_at + 0.045) * 1000, abs=6)


def test_reports_from_strangers_and_broken_ones_are_not_believed() -> None:
    world = World()
    phone, pair = world.call()
    world.run(200)
    stranger = world.network.port("203.0.113.1", 9)
    forged = ReceiverReport(1, (ReportBlock(phone.packets[0].ssrc, 255, 9999, 0, 0, 0, 0),))
    stranger.send(build_rtcp([forged]), pair.rtcp.address)
    phone.control.send(b"\x80\xc9\x00\x99", pair.rtcp.address)
    world.run(100)
    stats = world.plane.stats("leg")
    assert stats.far_lost is None
    assert (stats.strangers, stats.rejected) == (1, 1)


def test_reports_share_the_port_when_that_was_agreed() -> None:
    world = World()
    phone, pair = world.call(rtcp_mux=True)
    world.run(6000)
    assert any(isinstance(report, SenderReport) for report in phone.reports)
    assert phone.control.inbox == []
    block = ReportBlock(phone.packets[0].ssrc, 0, 3, 0, 0, 0, 0)
    phone.port.send(build_rtcp([ReceiverReport(phone.ssrc, (block,))]), pair.rtp.address)
    world.run(50)
    assert world.plane.stats("leg").far_lost == 3


def test_who_does_not_send_reports_as_a_receiver() -> None:
    world = World()
    phone, _ = world.call(direction=Direction.RECVONLY)
    world.run(12_000)
    assert phone.packets == []
    assert phone.reports
    assert not any(isinstance(report, SenderReport) for report in phone.reports)
    assert any(isinstance(report, ReceiverReport) and report.blocks for report in phone.reports)


# -- echo and recording -----------------------------------------------------------------------------------------------


def test_an_echo_comes_back_at_once_on_our_own_source() -> None:
    world = World()
    phone, _ = world.call(options=LegOptions(echo=True))
    phone.say(tone(12, 400))
    sent_at = phone.next_at
    world.run(1000)
    (heard,) = phone.tones
    assert (heard.number, heard.longest_gap_ms) == (12, 0)
    assert phone.packets[0].at - sent_at <= limits.STEP_S + 1e-6
    assert phone.packets[0].ssrc != phone.ssrc
    assert set(np.diff([packet.sequence for packet in phone.packets])) == {1}
    assert set(np.diff([packet.timestamp for packet in phone.packets])) == {160}
    assert [packet.marker for packet in phone.packets].count(True) == 1


def test_an_echo_is_served_between_steps() -> None:
    world = World()
    phone, _ = world.call(options=LegOptions(echo=True))
    world.run(100)
    assert world.plane.has_urgent
    phone.tick()
    ready = world.plane.wait_urgent(0.0)
    before = len(phone.packets)
    world.plane.serve_urgent(ready, world.now)
    phone.listen()
    assert len(phone.packets) == before + 1


def test_an_echo_survives_a_new_source() -> None:
    world = World()
    phone, _ = world.call(options=LegOptions(echo=True))
    world.run(300)
    phone.ssrc, phone.sequence, phone.timestamp = 5, 60_000, 17
    world.run(300)
    assert set(np.diff([packet.sequence for packet in phone.packets])) == {1}
    steps = np.diff([packet.timestamp for packet in phone.packets])
    assert set(steps) <= {160}


def test_a_recording_holds_both_sides_on_one_clock() -> None:
    world = World()
    recorder = Recorder()
    phone, _ = world.call(options=LegOptions(recorder=recorder))
    world.run(500)
    phone.say(tone(2, 300))
    world.plane.play("leg", 0, tone(14, 300), 8000)
    world.plane.finish_run("leg", 0)
    world.run(700)
    world.direct(Direction.INACTIVE)
    world.run(300)
    world.direct(Direction.SENDRECV)
    world.plane.play("leg", 1, tone(15, 200), 8000)
    world.plane.finish_run("leg", 1)
    world.run(500)
    world.plane.close_leg("leg")
    world.run(50)
    stereo = recorder.stereo()
    (heard,) = find_tones(np.ascontiguousarray(stereo[:, 0]))
    said = find_tones(np.ascontiguousarray(stereo[:, 1]))
    assert heard.number == 2
    assert [each.number for each in said] == [14, 15]
    for each, started in zip(said, world.of(PlayoutStarted), strict=True):
        assert each.start_ms == pytest.approx(started.at_ms, abs=10)
        first = world.when(started) - 1000.0
        assert each.start_ms == pytest.approx(first * 1000, abs=15)
    assert not recorder.truncated


def test_a_hundred_calls_are_recorded_whole() -> None:
    """Users' complaint: recording a hundred calls at a time lost sound."""
    world = World()
    recorders = [Recorder() for _ in range(100)]
    for number, recorder in enumerate(recorders):
        phone, _ = world.call(f"leg-{number}", LegOptions(recorder=recorder))
        phone.say(tone(1 + number % 10, 600))
        world.plane.play(f"leg-{number}", 0, tone(11 + number % 10, 600), 8000)
        world.plane.finish_run(f"leg-{number}", 0)
    world.run(900)
    for number, recorder in enumerate(recorders):
        for channel, first in ((0, 1), (1, 11)):
            (heard,) = find_tones(np.ascontiguousarray(recorder.stereo()[:, channel]))
            assert heard.number == first + number % 10
            assert heard.end_ms - heard.start_ms == pytest.approx(600, abs=20)
            assert heard.longest_gap_ms == 0


def test_a_recording_has_an_end() -> None:
    world = World()
    recorder = Recorder(longest_s=1)
    world.call(options=LegOptions(recorder=recorder))
    world.run(3000)
    assert recorder.stereo().shape == (8000, 2)
    assert recorder.truncated


def test_input_older_than_what_is_kept_is_gone() -> None:
    world = World()
    pair = world.pair()
    phone = world.phone(pair.rtp.address[:2])
    audio = world.plane.open_leg("leg", pair, Negotiated(phone.port.address), LegOptions(keep_input_s=2))
    phone.say(tone(1, 4500))
    world.run(5000)
    kept = len(audio.read(0, 100_000))
    assert 2000 <= kept / 8 <= 3000
    assert len(audio.read(0, 1900)) == 0
    assert 0 < len(audio.read(0, 3500)) < kept


def test_a_call_may_change_its_law() -> None:
    world = World()
    recorder = Recorder()
    phone, _ = world.call(options=LegOptions(recorder=recorder))
    phone.say(tone(1, 400))
    world.plane.play("leg", 0, tone(17, 1200), 8000)
    world.run(500)
    world.plane.update_leg("leg", Negotiated(phone.port.address, codecs=((8, Codec.PCMA),)))
    phone.codec = Codec.PCMA
    phone.say(tone(2, 400))
    world.run(800)
    assert [each.number for each in find_tones(world.plane.input_audio("leg", 0, 100_000))] == [1, 2]
    assert {packet.payload_type for packet in phone.packets} == {0, 8}
    (heard,) = phone.tones
    assert (heard.number, heard.longest_gap_ms) == (17, 0)
    assert {each.number for each in find_tones(np.ascontiguousarray(recorder.stereo()[:, 1]))} == {17}
