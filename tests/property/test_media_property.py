"""Any order of commands over any network: the ledger adds up, the stream is whole, nothing breaks."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.media_world import World
from tests.memory_network import Weather

from offhook.audio.g711 import Codec
from offhook.media.command import Direction, LegOptions, Negotiated
from offhook.media.edge import LegClosed, MediaFailed, Played, PlayoutFinished, PlayoutStarted, PlayoutStopped

wishes = st.lists(
    st.one_of(
        st.tuples(st.just("play"), st.integers(0, 6), st.integers(0, 3000), st.sampled_from([8000, 16000, 24000])),
        st.tuples(st.just("finish"), st.integers(0, 6)),
        st.tuples(st.just("stop"), st.none() | st.integers(0, 6)),
        st.tuples(st.just("direction"), st.sampled_from(Direction)),
        st.tuples(st.just("keys"), st.text("0123456789*#ABCD", min_size=1, max_size=3), st.integers(20, 300)),
        st.tuples(st.just("law"), st.sampled_from(Codec)),
        st.tuples(st.just("wait"), st.integers(0, 400)),
        st.tuples(st.just("late"), st.integers(0, 300)),
    ),
    max_size=25,
)
weathers = st.builds(
    Weather, loss=st.floats(0, 0.4), copies=st.floats(0, 0.4), delay_ms=st.floats(0, 200), jitter_ms=st.floats(0, 200)
)


@settings(max_examples=120)
@given(wishes, weathers, st.integers(0, 1000))
def test_runs_begin_and_end_once_and_are_never_said_beyond_what_was_given(
    wishes: list[tuple[object, ...]], weather: Weather, seed: int
) -> None:
    world = World(seed=seed)
    phone, pair = world.call(options=LegOptions(), weather=weather)
    given_ms: Counter[int] = Counter()
    for wish in wishes:
        match wish:
            case ("play", int(run), int(count), int(rate_hz)):
                world.plane.play("leg", run, np.full(count, 9000, dtype=np.int16), rate_hz)
                given_ms[run] += count * 1000 / rate_hz
            case ("finish", int(run)):
                world.plane.finish_run("leg", run)
            case ("stop", None | int() as through):
                world.plane.stop_playout("leg", through)
            case ("direction", Direction() as direction):
                world.direct(direction)
            case ("keys", str(digits), int(duration_ms)):
                world.plane.send_dtmf("leg", digits, duration_ms)
            case ("law", Codec() as codec):
                world.agreed["leg"] = Negotiated(phone.port.address, codecs=((int(codec), codec),))
                world.plane.update_leg("leg", world.agreed["leg"])
                phone.codec = codec
            case ("wait", int(ms)):
                world.run(ms)
            case ("late", int(ms)):
                world.network.now += ms / 1000
                world._step_at = world.plane.step(world.network.now)
    world.run(300)
    world.plane.close_leg("leg")
    world.run(20)
    assert world.of(MediaFailed) == []
    assert isinstance(world.edges[-1], LegClosed)
    assert pair.closed_at is not None
    started = [edge.run for edge in world.of(PlayoutStarted)]
    ended = [edge.run for edge in world.edges if isinstance(edge, PlayoutFinished | PlayoutStopped)]
    assert started == sorted(set(started))
    assert len(set(ended)) == len(ended)
    assert set(started) <= set(ended)
    for edge in world.edges:
        if isinstance(edge, Played | PlayoutFinished | PlayoutStopped):
            assert edge.played_ms <= given_ms[edge.run] + 1
    assert set(np.diff(_sequences(world)) % 65536) <= {1}
    said_ms = sum(e.played_ms for e in world.edges if isinstance(e, PlayoutFinished | PlayoutStopped))
    assert said_ms <= (world.now - 1000) * 1000 + 120


def _sequences(world: World) -> list[int]:
    """The phone's end of the line is perfect, so it gets every packet in order."""
    return [packet.sequence for packet in world.phones[0].packets]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.binary(max_size=60), st.booleans(), st.integers(0, 40)), max_size=60), st.booleans())
def test_any_datagrams_from_anywhere_leave_the_plane_running(
    datagrams: list[tuple[bytes, bool, int]], mux: bool
) -> None:
    world = World()
    phone, pair = world.call(rtcp_mux=mux)
    world.run(100)
    for data, control, wait_ms in datagrams:
        for sender in (phone.port, phone.control):
            sender.send(data, (pair.rtcp if control else pair.rtp).address)
            sender.send(b"\x80" + data, (pair.rtcp if control else pair.rtp).address)
        world.run(wait_ms)
    world.run(100)
    assert world.of(MediaFailed) == []
    assert world.plane.load().legs == 1
