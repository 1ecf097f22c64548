"""What comes in on a leg: from datagrams to one line of sound and the keys that were pressed."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final

from offhook.audio import g711
from offhook.audio.conceal import HISTORY_SAMPLES, Concealer
from offhook.audio.g711 import Codec
from offhook.media.command import Direction, LegOptions, Negotiated
from offhook.media.edge import DtmfReceived, Edge, MediaStarted, MediaTimedOut
from offhook.media.input_audio import InputAudio
from offhook.media.limits import RATE_HZ, TICKS_PER_MS
from offhook.media.noise import NoiseReducer
from offhook.media.ports import Address
from offhook.rtp.jitter import Frame, JitterBuffer, Lost, Pause, Piece
from offhook.rtp.limits import PAYLOAD_TICKS
from offhook.rtp.packet import HEADER_BYTES, PLAIN, RtpError, RtpPacket, parse_rtp, read_header
from offhook.rtp.reception import Reception
from offhook.rtp.source import SourceGuard, SsrcFollower, Stream
from offhook.rtp.telephone_event import EventReceiver

_COMFORT_NOISE: Final = 13  # RFC 3389: it says that there is silence, which is what we hear anyway.


class _Presence(enum.Enum):
    """What is known of the caller."""

    EXPECTED = enum.auto()
    PRESENT = enum.auto()
    MISSED = enum.auto()  # The silence has been told.


class Inbound:
    """Receives one leg. What is added to the line is handed to ``listen``, piece by piece."""

    __slots__ = (
        "_audio",
        "_awaited",
        "_codecs",
        "_concealer",
        "_event_type",
        "_events",
        "_heard_from",
        "_leg",
        "_listen",
        "_never_heard",
        "_opened_at",
        "_presence",
        "_receives",
        "_recorder",
        "_timeout_s",
        "_usual_from",
        "_usual_type",
        "codec",
        "guard",
        "heard_at",
        "jitter",
        "keys",
        "reception",
        "reducer",
        "rejected",
        "streams",
    )

    def __init__(
        self,
        leg: str,
        negotiated: Negotiated,
        options: LegOptions,
        audio: InputAudio,
        now: float,
        listen: Callable[[bytes], object],
    ) -> None:
        self._leg = leg
        self._opened_at = now
        self._audio = audio
        self._listen = listen
        self._recorder = options.recorder
        self._timeout_s = options.media_timeout_s
        self.codec: Final[Codec] = negotiated.codecs[0][1]
        """The law of the line. It stays what it was when the leg was opened; packets of the other law are recoded."""
        self.guard = SourceGuard(negotiated.remote)
        self.streams = SsrcFollower()
        self.jitter = JitterBuffer(depth=options.jitter_ms * TICKS_PER_MS)
        self.reception = Reception(0, 0)
        self.heard_at = now
        self.rejected = self.keys = 0
        self.reducer: NoiseReducer | None = None
        """Cleans what is heard of the line; a recording has what really came."""
        self._events = EventReceiver()
        self._concealer: Concealer | None = None
        self._presence = _Presence.EXPECTED
        self._never_heard = True
        self._heard_from: Address | None = None
        self._usual_from: Address | None = None
        self._agree(negotiated)

    def close(self) -> None:
        """Forget who listens: nothing more comes in."""
        self._listen = _nobody

    def renegotiated(self, negotiated: Negotiated, now: float) -> None:
        """Take a new offer and answer."""
        self._agree(negotiated)
        self.guard.renegotiated(negotiated.remote)
        self._expect(now)
        self._find_usual()

    def usual(self, data: bytes, address: Address, now: float) -> bool:
        """Take a datagram if it is the next packet of a stream that is in order; tell whether it was.

        Fifty times a second for each call it is, and then there is nothing else to ask. Otherwise call `receive`; of
        an echo, whose packets only `voice` is asked for, none is usual.
        """
        if address != self._usual_from or not HEADER_BYTES < len(data) <= HEADER_BYTES + PAYLOAD_TICKS:
            return False
        first, second, sequence, timestamp, ssrc = read_header(data)
        ticks = int((now - self._opened_at) * RATE_HZ)
        if (
            first != PLAIN
            or second != self._usual_type  # Without its marker, so below 128.
            or ssrc != self.streams.ssrc
            or not self.jitter.follows(sequence, timestamp, len(data) - HEADER_BYTES, ticks)
        ):
            return False
        self.reception.packet(sequence, timestamp, ticks)
        self.heard_at = now
        self._continue(data[HEADER_BYTES:])
        return True

    def receive(self, data: bytes, address: Address, now: float, edges: list[Edge]) -> None:
        """Take any datagram from the RTP port."""
        packet = self.voice(data, address, now, edges)
        if packet is not None:
            payload = packet.payload if packet.payload_type in self._codecs else b""
            ticks = int((now - self._opened_at) * RATE_HZ)
            pieces = self.jitter.put(
                packet.sequence, packet.timestamp, payload, packet.payload_type, packet.marker, ticks
            )
            if pieces:
                self._lay(pieces)
            self._find_usual()

    def voice(self, data: bytes, address: Address, now: float, edges: list[Edge]) -> RtpPacket | None:
        """Check a datagram and count it; return it if it is the caller's voice, or a sign of it without sound."""
        try:
            packet = parse_rtp(data)
        except RtpError:
            self.rejected += 1
            return None
        payload_type = packet.payload_type
        sound = payload_type in self._codecs
        if (
            not self._receives
            or len(packet.payload) > PAYLOAD_TICKS
            or not (sound or payload_type == self._event_type or payload_type == _COMFORT_NOISE)
        ):
            self.rejected += 1
            return None
        if not self.guard.accept(address):
            return None
        if address != self._heard_from:
            # Whoever was heard before is a stranger from now on, whatever becomes of this packet.
            self._heard_from, self._usual_from = address, None
            self.streams.moved()
        stream = self.streams.follow(packet.ssrc, now)
        if stream is Stream.STALE:
            return None
        if stream is Stream.NEW:
            self.reception = Reception(packet.ssrc, packet.sequence)
            self.jitter.reset()
            self._events.forget()
        self.heard_at = now
        self._presence = _Presence.PRESENT
        if self._never_heard:
            self._never_heard = False
            edges.append(MediaStarted(self._leg, self._ms(now)))
        ticks = int((now - self._opened_at) * RATE_HZ)
        self.reception.packet(packet.sequence, packet.timestamp if sound else None, ticks)
        if payload_type == self._event_type:
            digit = self._events.receive(packet.payload, packet.timestamp)
            if digit is not None:
                self.keys += 1
                edges.append(DtmfReceived(self._leg, self._ms(now), digit))
        return packet

    def tick(self, now: float) -> None:
        """Let time pass: fill what did not come."""
        pieces = self.jitter.fill(int((now - self._opened_at) * RATE_HZ))
        if pieces:
            self._lay(pieces)
            self._find_usual()

    def attend(self, now: float, edges: list[Edge], *, quiet: bool) -> None:
        """Do now and then what need not be done often: correct the clocks where nobody hears it, miss a caller."""
        if quiet and self.jitter.drift:
            self.jitter.correct()
        if (
            self._timeout_s is not None
            and self._awaited
            and self._presence is not _Presence.MISSED
            and now - self.heard_at >= self._timeout_s
        ):
            self._presence = _Presence.MISSED
            self._find_usual()
            edges.append(MediaTimedOut(self._leg, self._ms(now), self._timeout_s))

    def _agree(self, negotiated: Negotiated) -> None:
        self._codecs = dict(negotiated.codecs)
        self._event_type = -1 if negotiated.telephone_event_type is None else negotiated.telephone_event_type
        self._receives = negotiated.direction.receives
        # A caller who wants to hear nothing has put us on hold, and owes us no music (RFC 3264 section 8.4).
        self._awaited = negotiated.direction is Direction.SENDRECV
        self._usual_type = next((number for number, codec in negotiated.codecs if codec is self.codec), -1)

    def _find_usual(self) -> None:
        """Note where a packet comes from that needs no further question: nowhere while each of them does."""
        is_usual = self._presence is _Presence.PRESENT and self._concealer is None
        self._usual_from = self.guard.settled if is_usual else None

    def _expect(self, now: float) -> None:
        """Begin to wait anew: nobody is missed for the time before."""
        self.heard_at = now
        self._presence = _Presence.EXPECTED

    def _ms(self, now: float) -> int:
        return int((now - self._opened_at) * 1000)

    def _lay(self, pieces: Sequence[Piece]) -> None:
        """Continue the line with these pieces."""
        for piece in pieces:
            match piece:
                case Frame(payload=payload, payload_type=payload_type):
                    payload = g711.translate(payload, self._codecs.get(payload_type, self.codec), self.codec)
                    if self._concealer is not None:
                        payload = self._found(self._concealer, payload)
                case Lost(ticks=ticks):
                    payload = self._lost(ticks)
                case Pause(ticks=ticks):
                    self._concealer = None
                    payload = self.codec.silence * ticks
            self._continue(payload)

    def _continue(self, payload: bytes) -> None:
        if self._recorder is not None:
            self._recorder.heard(payload)
        if self.reducer is not None:
            payload = self.reducer.clean(payload)
        self._audio.append(payload)
        self._listen(payload)

    def _lost(self, ticks: int) -> bytes:
        if self._concealer is None:
            self._concealer = Concealer(self._audio.tail(HISTORY_SAMPLES))
        return g711.encode(self._concealer.lost(ticks), self.codec)

    def _found(self, concealer: Concealer, payload: bytes) -> bytes:
        self._concealer = None
        return g711.encode(concealer.found(g711.decode(payload, self.codec)), self.codec)


def _nobody(_: bytes) -> None:
    pass
