"""What is heard of a leg when more than the caller send to its port."""

from __future__ import annotations

from offhook.audio.g711 import Codec
from offhook.media.command import Direction, LegOptions, Negotiated
from offhook.media.inbound import Inbound
from offhook.media.input_audio import InputAudio
from offhook.media.ports import Address
from offhook.rtp.packet import voice_packet
from offhook.rtp.source import LOCK_PACKETS

CALLER: Address = ("192.0.2.1", 4000)
MOVED: Address = ("192.0.2.9", 4000)
STRANGER: Address = ("198.51.100.66", 6666)
FRAME_S = 0.02


class Line:
    """A leg that is sent to as the media plane hands it on; who is heard is told by the value of a sample."""

    def __init__(self) -> None:
        self.heard = bytearray()
        audio = InputAudio(Codec.PCMU)
        self.inbound = Inbound("leg", _negotiated(CALLER), LegOptions(), audio, 0.0, self.heard.extend)
        self._sent: dict[int, int] = {}

    def send(self, address: Address, ssrc: int, now: float) -> None:
        number = self._sent[ssrc] = self._sent.get(ssrc, -1) + 1
        data = voice_packet(0, False, number, number * 160, ssrc, bytes([ssrc]) * 160)
        if not self.inbound.usual(data, address, now):
            self.inbound.receive(data, address, now, [])

    def frames(self, ssrc: int) -> int:
        return self.heard.count(ssrc) // 160


def _negotiated(remote: Address) -> Negotiated:
    return Negotiated(remote=remote, codecs=((0, Codec.PCMU),), direction=Direction.SENDRECV)


def _taken_by_a_stranger() -> tuple[Line, float]:
    """The caller is heard and falls silent before it is settled where he is; a stranger sends for 0.8 s then."""
    line = Line()
    for step in range(LOCK_PACKETS - 2):
        line.send(CALLER, 1, step * FRAME_S)
    now = 0.5
    for _ in range(40):
        line.send(STRANGER, 2, now)
        line.inbound.tick(now)
        now += FRAME_S
    assert line.inbound.guard.settled == STRANGER
    line.heard.clear()
    return line, now


def _both_send(line: Line, caller: Address, now: float) -> None:
    for _ in range(100):
        line.send(caller, 1, now)
        line.send(STRANGER, 2, now + 0.001)
        line.inbound.tick(now + 0.002)
        now += FRAME_S


def test_a_stranger_who_was_turned_out_is_heard_no_more() -> None:
    line, now = _taken_by_a_stranger()
    _both_send(line, CALLER, now)
    assert line.inbound.guard.settled == CALLER
    assert line.frames(2) <= 2, "no more than what was waiting"
    assert line.inbound.guard.strangers >= 100


def test_a_caller_who_turns_a_stranger_out_is_heard_with_the_source_he_had() -> None:
    line, now = _taken_by_a_stranger()
    _both_send(line, CALLER, now)
    assert line.frames(1) >= 90


def test_a_caller_whose_offer_turns_a_stranger_out_is_heard_with_the_source_he_had() -> None:
    line, now = _taken_by_a_stranger()
    line.inbound.renegotiated(_negotiated(MOVED), now)
    _both_send(line, MOVED, now)
    assert line.inbound.guard.settled == MOVED
    assert line.frames(1) >= 90
    assert line.frames(2) <= 2


def test_the_first_packet_that_turns_a_stranger_out_is_enough() -> None:
    line, now = _taken_by_a_stranger()
    data = voice_packet(0, False, 100, 16_000, 1, bytes([1]) * 160)
    assert line.inbound.voice(data, CALLER, now, []) is not None
    for _ in range(20):
        line.send(STRANGER, 2, now)
        line.inbound.tick(now)
        now += FRAME_S
    assert line.frames(2) <= 2


def test_two_sources_of_one_address_still_do_not_chop_each_other_up() -> None:
    line = Line()
    now = 0.0
    for step in range(100):
        line.send(CALLER, 1, now)
        if step >= 20:
            line.send(CALLER, 2, now + 0.001)
        line.inbound.tick(now + 0.002)
        now += FRAME_S
    assert line.inbound.streams.changes == 1
    assert line.frames(2) >= 70
