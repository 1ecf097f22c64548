"""The media thread on real loopback sockets. Waits are for things that happen, never for time to pass."""

from __future__ import annotations

import queue
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.tone import find_tones, tone
from offhook.audio.turn import TurnOptions
from offhook.errors import LocalError
from offhook.media import blas
from offhook.media.command import LegOptions, Negotiated
from offhook.media.edge import DtmfReceived, Edge, LegClosed, LegOpened, MediaStarted, PlayoutFinished, PlayoutStopped
from offhook.media.plane import MediaPlane
from offhook.media.thread import MediaThread
from offhook.net.rtp import PortRange, SocketPoller
from offhook.rtp.packet import parse_rtp, voice_packet
from offhook.rtp.telephone_event import TelephoneEvent, build_event

PATIENCE_S = 20.0
Kind = TypeVar("Kind", bound=Edge)


class Rig:
    """A running plane with real ports, its edges in a queue, and one UDP socket as the telephone."""

    def __init__(self, detector: object = None) -> None:
        self.edges: queue.Queue[Edge] = queue.Queue()
        self.plane = MediaPlane(
            self._deliver,
            detector=detector,  # type: ignore[arg-type]
            pollers=SocketPoller,
            randbits=secrets.randbits,
        )
        self.thread = MediaThread(self.plane)
        self.ports = PortRange("127.0.0.1", 47400, 47499)
        self.phone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.phone.bind(("127.0.0.1", 0))
        self.phone.settimeout(PATIENCE_S)
        self.thread.start()

    def _deliver(self, edges: list[Edge]) -> None:
        for edge in edges:
            self.edges.put(edge)

    def open(self, options: LegOptions | None = None) -> tuple[str, int]:
        """Open the leg and return where the phone sends to."""
        pair = self.ports.open(0.0)
        self.plane.open_leg("leg", pair, Negotiated(self.phone.getsockname()), options)
        self.wait(LegOpened)
        return ("127.0.0.1", pair.port)

    def wait(self, kind: type[Kind]) -> Kind:
        while True:
            edge = self.edges.get(timeout=PATIENCE_S)
            if isinstance(edge, kind):
                return edge

    def hear(self) -> bytes:
        """The payload of the next packet."""
        return parse_rtp(self.phone.recv(2048)).payload


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.thread.stop()
    made.phone.close()


def test_a_call_over_real_sockets_hears_and_is_heard(rig: Rig) -> None:
    target = rig.open()
    said = tone(4, 400)
    for index in range(20):
        frame = g711.encode(said[index * 160 : index * 160 + 160], Codec.PCMU)
        rig.phone.sendto(voice_packet(0, False, index, index * 160, 9, frame), target)
        rig.hear()  # Its frames are the clock: one comes every 20 ms.
    rig.wait(MediaStarted)
    rig.plane.play("leg", 0, tone(11, 400, 24000), 24000)
    rig.plane.finish_run("leg", 0)
    heard = b"".join(rig.hear() for _ in range(30))
    assert [each.number for each in find_tones(g711.decode(heard, Codec.PCMU))] == [11]
    assert rig.wait(PlayoutFinished).played_ms == 400
    assert 4 in {each.number for each in find_tones(rig.plane.input_audio("leg", 0, 10_000))}
    rig.phone.sendto(voice_packet(101, True, 20, 9000, 9, build_event(TelephoneEvent(5, False, 10, 160))), target)
    assert rig.wait(DtmfReceived).digit == "5"


def test_a_stop_is_obeyed_on_real_sockets(rig: Rig) -> None:
    rig.open()
    rig.plane.play("leg", 0, np.full(80_000, 9000, dtype=np.int16), 8000)
    loud = g711.encode(np.full(160, 9000, dtype=np.int16), Codec.PCMU)
    while rig.hear() != loud:
        pass
    rig.plane.stop_playout("leg")
    stopped = rig.wait(PlayoutStopped)
    count = 1
    while rig.hear() == loud:
        count += 1
    assert stopped.played_ms == 20 * count


def test_an_echo_comes_back_over_real_sockets(rig: Rig) -> None:
    target = rig.open(LegOptions(echo=True))
    for index in range(20):
        payload = bytes([index]) * 160
        rig.phone.sendto(voice_packet(0, False, index, index * 160, 9, payload), target)
        assert rig.hear() == payload


def test_the_end_of_the_thread_closes_everything(rig: Rig) -> None:
    target = rig.open()
    rig.thread.stop()
    assert rig.wait(LegClosed).leg == "leg"
    assert rig.ports.in_use == 0
    assert "offhook-media" not in {thread.name for thread in threading.enumerate()}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(target)


def test_a_step_that_fails_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    class BrokenDetector:
        window_samples = 256
        context_samples = 32

        def reset(self, row: int) -> None:
            pass

        def judge(self, rows: object, windows: object) -> object:
            raise RuntimeError("a bug")

    rig = Rig(BrokenDetector())
    target = rig.open(LegOptions(turns=TurnOptions()))
    loud = g711.encode(tone(4, 20), Codec.PCMU)
    for index in range(10):
        rig.phone.sendto(voice_packet(0, False, index, index * 160, 9, loud), target)
        rig.hear()
    while not rig.plane.load().failures:
        rig.hear()
    assert rig.hear()
    rig.thread.stop()
    rig.phone.close()
    assert "a step of the media plane failed" in caplog.text


def test_load_is_measured_by_the_thread(rig: Rig) -> None:
    rig.open()
    for _ in range(20):
        rig.hear()
    load = rig.plane.load()
    assert load.legs == 1
    assert 0 < load.cpu <= 1
    assert load.failures == 0


def test_closing_a_leg_again_and_again_does_no_harm(rig: Rig) -> None:
    rig.open()
    for _ in range(3):
        rig.plane.close_leg("leg")
    rig.wait(LegClosed)
    assert rig.ports.in_use == 0


def test_a_busy_thread_may_not_keep_the_interpreter_from_the_plane(rig: Rig) -> None:
    assert sys.getswitchinterval() <= 0.0005


def test_numpy_is_kept_to_one_thread_when_asked_in_time() -> None:
    program = (
        "from offhook.media.blas import one_thread; one_thread(); import numpy, threading, os\n"
        "a = numpy.ones((600, 600)); a @ a\n"
        "print(len(os.listdir('/proc/self/task')))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "1"


def test_asking_after_numpy_was_loaded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(LocalError, match="OPENBLAS_NUM_THREADS=1"):
        blas.one_thread()
