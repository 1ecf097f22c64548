"""What goes out on a leg: a frame every 20 ms, keys, echoes, and the counts for reports."""

from __future__ import annotations

from collections.abc import Callable

from offhook.media.command import LegOptions, Negotiated
from offhook.media.ducking import Ducking
from offhook.media.edge import DtmfSent, Edge
from offhook.media.keypad import Done, EventPacket, Keypad, Sound
from offhook.media.limits import FRAME_TICKS, RATE_HZ, TICKS_PER_MS
from offhook.media.playout import Playout
from offhook.media.ports import DatagramPort
from offhook.rtp.packet import PLAIN, RtpPacket, signed_32, voice_packet, write_header
from offhook.rtp.source import SourceGuard


class Outbound:
    """Sends one leg. The target is wherever the guard says that the caller is heard from."""

    __slots__ = (
        "_codec",
        "_echo_offset",
        "_event_type",
        "_gap",
        "_guard",
        "_leg",
        "_payload_type",
        "_port",
        "_recorder",
        "_sends",
        "_sequence",
        "_silence",
        "_talking",
        "ducking",
        "keypad",
        "octets",
        "packets",
        "playout",
        "send_errors",
        "ssrc",
        "timestamp",
    )

    def __init__(
        self,
        leg: str,
        negotiated: Negotiated,
        options: LegOptions,
        port: DatagramPort,
        guard: SourceGuard,
        randbits: Callable[[int], int],
    ) -> None:
        self._leg = leg
        self._port = port
        self._guard = guard
        self._recorder = options.recorder
        # Random beginnings make known-plaintext attacks on encryption harder (RFC 3550 section 5.1).
        chance = randbits(80)
        self.ssrc = chance & 0xFFFFFFFF
        self._sequence = chance >> 32 & 0xFFFF
        self.timestamp = chance >> 48
        """The RTP timestamp of the next frame."""
        self._agree(negotiated)
        self.playout = Playout(leg, self._codec)
        self.ducking = Ducking()
        self.keypad = Keypad()
        self.packets = self.octets = self.send_errors = 0
        self._gap = True
        self._talking = False
        self._echo_offset: int | None = None

    def renegotiated(self, negotiated: Negotiated) -> None:
        """Take a new offer and answer."""
        self.playout.recode(negotiated.codecs[0][1])
        self._agree(negotiated)

    def tick(self, place: int, edges: list[Edge]) -> None:
        """Send the frame of this tick; ``place`` is where on the leg's line it begins, in samples."""
        if not self._sends or self._guard.target is None:
            self.skip(1)
            return
        at_ms = place // TICKS_PER_MS
        payload: bytes | None = None
        if self.keypad.busy:
            match self.keypad.next(self.timestamp, self._codec, events=self._event_type is not None):
                case EventPacket() as event:
                    self._transmit_event(event)
                    self.skip(1)
                    return
                case Sound() as sound:
                    payload = sound.payload
                case Done(digits=digits):
                    edges.append(DtmfSent(self._leg, at_ms, digits))
        if payload is None:
            payload = self.playout.take(at_ms, edges)
            if payload is not None:
                payload = self.ducking.apply(payload, self._codec)
        talking = payload is not None
        if payload is None:
            payload = self._silence
        # RFC 3551 section 4.1: the marker shows the first packet of a talkspurt, where a receiver may set its delay.
        second = self._payload_type | 128 if self._gap or (talking and not self._talking) else self._payload_type
        self._put(write_header(PLAIN, second, self._sequence, self.timestamp, self.ssrc) + payload, FRAME_TICKS)
        self._talking = talking
        self._gap = False
        self.timestamp = self.timestamp + FRAME_TICKS & 0xFFFFFFFF
        if self._recorder is not None:
            self._recorder.sent(place, payload, self._codec)

    def skip(self, frames: int) -> None:
        """Let the time of so many frames pass without sound."""
        self.timestamp = self.timestamp + frames * FRAME_TICKS & 0xFFFFFFFF
        self._gap = True

    def echo(self, packet: RtpPacket) -> None:
        """Send a packet straight back on our own source and clock, the spacing of its timestamps kept."""
        offset = self._echo_offset
        if offset is None or not 0 <= signed_32(packet.timestamp + offset - self.timestamp) < RATE_HZ:
            offset = self._echo_offset = self.timestamp - packet.timestamp
            self._gap = True
        self.timestamp = packet.timestamp + offset & 0xFFFFFFFF
        if self._sends and self._guard.target is not None:
            header = (packet.payload_type, self._gap or packet.marker, self._sequence, self.timestamp, self.ssrc)
            self._put(voice_packet(*header, packet.payload), len(packet.payload))
            self._gap = False
        self.timestamp = self.timestamp + len(packet.payload) & 0xFFFFFFFF

    def _agree(self, negotiated: Negotiated) -> None:
        self._payload_type, self._codec = negotiated.codecs[0]
        self._event_type = negotiated.telephone_event_type
        self._sends = negotiated.direction.sends
        self._silence = self._codec.silence * FRAME_TICKS

    def _transmit_event(self, event: EventPacket) -> None:
        for _ in range(event.copies):
            header = (self._event_type or 0, event.marker, self._sequence, event.timestamp, self.ssrc)
            self._put(voice_packet(*header, event.payload), len(event.payload))

    def _put(self, packet: bytes, octets: int) -> None:
        self._sequence = self._sequence + 1 & 0xFFFF
        self.packets += 1
        self.octets += octets
        target = self._guard.target
        if target is None:
            return
        try:
            self._port.send(packet, target)
        except OSError:  # A full buffer or an unreachable network: the next frame is 20 ms away.
            self.send_errors += 1
