"""A media plane, telephones that call it, and a clock that jumps from one thing that is due to the next."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, silence
from offhook.audio.tone import HeardTone, find_tones
from offhook.media.command import Direction, LegOptions, Negotiated
from offhook.media.edge import Edge
from offhook.media.plane import MediaPlane
from offhook.media.vad import VoiceDetector
from offhook.rtp.packet import is_rtcp, parse_rtp, signed_32, voice_packet
from offhook.rtp.rtcp import ControlPacket, parse_rtcp
from tests.memory_network import MemoryNetwork, MemoryPair, MemoryPoller, MemoryPort, Weather

SERVER = "10.0.0.1"
Kind = TypeVar("Kind", bound=Edge)


@dataclass
class Received:
    """One packet as a telephone got it."""

    at: float
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


@dataclass
class Phone:
    """A telephone on the network: says what it is given in frames of its own size, and keeps what it hears."""

    port: MemoryPort
    control: MemoryPort
    target: tuple[str, int]
    ssrc: int = 0xABCD
    codec: Codec = Codec.PCMU
    frame_ms: int = 20
    sequence: int = 1000
    timestamp: int = 70_000
    to_say: Samples = field(default_factory=lambda: silence(0))
    talking: bool = True
    marker: bool = False
    next_at: float = 0.0
    packets: list[Received] = field(default_factory=list)
    reports: list[ControlPacket] = field(default_factory=list)

    def say(self, samples: Samples) -> None:
        """Queue sound; without any, silence is sent."""
        self.to_say = np.concatenate([self.to_say, samples])

    def send(self, payload_type: int, payload: bytes, *, marker: bool = False, timestamp: int | None = None) -> None:
        """Send one packet of any kind on the phone's stream."""
        stamp = self.timestamp if timestamp is None else timestamp
        data = voice_packet(payload_type, marker, self.sequence & 0xFFFF, stamp & 0xFFFFFFFF, self.ssrc, payload)
        self.sequence += 1
        self.port.send(data, self.target)

    def tick(self) -> None:
        """Send the next frame."""
        count = self.frame_ms * 8
        if self.talking:
            frame, self.to_say = self.to_say[:count], self.to_say[count:]
            frame = np.concatenate([frame, silence(count - len(frame))])
            self.send(self.codec, g711.encode(frame, self.codec), marker=self.marker)
            self.marker = False
        self.timestamp += count

    def listen(self) -> None:
        """Take what has arrived."""
        for port in (self.port, self.control):
            while True:
                try:
                    data, _ = port.receive()
                except BlockingIOError:
                    break
                if is_rtcp(data):
                    self.reports += parse_rtcp(data)
                else:
                    packet = parse_rtp(data)
                    self.packets.append(Received(self.port.network.clock(), *packet[:6]))

    @property
    def line(self) -> Samples:
        """What was heard, each packet where its timestamp puts it, holes as silence."""
        voice = [packet for packet in self.packets if packet.payload_type in {0, 8}]
        if not voice:
            return silence(0)
        first = voice[0].timestamp
        line = silence(max(signed_32(packet.timestamp - first) for packet in voice) + 1600)
        for packet in voice:
            place = signed_32(packet.timestamp - first)
            sound = g711.decode(packet.payload, Codec(packet.payload_type))
            line[place : place + len(sound)] = sound
        return line

    @property
    def tones(self) -> list[HeardTone]:
        """The numbered tones that were heard."""
        return find_tones(self.line)


class World:
    """One plane at `SERVER`, any number of phones, edges as they came."""

    def __init__(self, *, seed: int = 1, detector: VoiceDetector | None = None, start: float = 1000.0) -> None:
        self.network = MemoryNetwork(seed)
        self.network.now = start
        self.edges: list[Edge] = []
        self.edge_times: list[float] = []
        self.phones: list[Phone] = []
        self.agreed: dict[str, Negotiated] = {}
        bits = random.Random(seed)
        self.plane = MediaPlane(self._deliver, detector=detector, pollers=MemoryPoller, randbits=bits.getrandbits)
        self._ports = itertools.count(20000, 2)
        self._hosts = itertools.count(1)
        self._step_at = start

    def _deliver(self, edges: list[Edge]) -> None:
        self.edges += edges
        self.edge_times += [self.network.now] * len(edges)

    @property
    def now(self) -> float:
        return self.network.now

    def pair(self) -> MemoryPair:
        """Open the next two ports of the server."""
        return self.network.pair(SERVER, next(self._ports))

    def phone(self, target: tuple[str, int], *, host: str | None = None, weather: Weather | None = None) -> Phone:
        """Put a telephone on the network that calls a port of the server; its frames come at odd times."""
        host = host or f"192.0.2.{next(self._hosts)}"
        phone = Phone(self.network.port(host, 4000), self.network.port(host, 4001), target)
        phone.next_at = self.now + self.network.random.random() * 0.02
        if weather is not None:
            self.network.weather[host] = weather
        self.phones.append(phone)
        return phone

    def call(
        self,
        leg: str = "leg",
        options: LegOptions | None = None,
        *,
        weather: Weather | None = None,
        **negotiated: Any,
    ) -> tuple[Phone, MemoryPair]:
        """Open a leg with a phone at its other end, and let the leg come up."""
        pair = self.pair()
        phone = self.phone(pair.rtp.address[:2], weather=weather)
        agreed = Negotiated(phone.port.address, **negotiated)
        phone.codec = agreed.codecs[0][1]
        self.agreed[leg] = agreed
        self.plane.open_leg(leg, pair, agreed, options)
        return phone, pair

    def direct(self, direction: Direction, leg: str = "leg") -> None:
        """Agree on another direction, as a re-INVITE does."""
        self.agreed[leg] = replace(self.agreed[leg], direction=direction)
        self.plane.update_leg(leg, self.agreed[leg])

    def run(self, ms: float) -> None:
        """Let time pass."""
        end = self.now + ms / 1000
        while True:
            due = min([self._step_at, *(phone.next_at for phone in self.phones)])
            if due > end + 1e-9:
                break
            self.network.now = max(due, self.now)
            for phone in self.phones:
                while phone.next_at <= self.now + 1e-9:
                    phone.next_at += phone.frame_ms / 1000
                    phone.tick()
            if self._step_at <= self.now + 1e-9:
                self._step_at = self.plane.step(self.now)
            for phone in self.phones:
                phone.listen()
        self.network.now = end

    def stall(self, ms: float) -> None:
        """Let the server stand still for so long from now on, while everybody else goes on."""
        self._step_at = self.now + ms / 1000

    def rest(self, ms: float) -> None:
        """Let time pass the way the thread does while there are no calls."""
        assert self.plane.idle
        self.network.now += ms / 1000
        self._step_at = self.plane.rested(self.now)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The edges of one kind, in order."""
        return [edge for edge in self.edges if isinstance(edge, kind)]

    def when(self, edge: Edge) -> float:
        """When an edge was delivered."""
        return self.edge_times[self.edges.index(edge)]
