"""One call's media: what comes in, what goes out, and the reports about both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from offhook.audio.turn import TurnDetector
from offhook.media import limits
from offhook.media.command import Direction, LegOptions, Negotiated
from offhook.media.edge import Edge
from offhook.media.inbound import Inbound
from offhook.media.input_audio import InputAudio
from offhook.media.limits import FRAME_TICKS, RATE_HZ, TICKS_PER_MS
from offhook.media.outbound import Outbound
from offhook.media.ports import Address, Ports
from offhook.media.stats import LegStats
from offhook.rtp.jitter import LEAST_DEPTH
from offhook.rtp.packet import is_rtcp
from offhook.rtp.reception import ntp_time, round_trip_s
from offhook.rtp.rtcp import (
    ControlPacket,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpError,
    SenderReport,
    SourceDescription,
    build_rtcp,
    parse_rtcp,
)


class Leg:
    """Joins the parts of one leg and keeps its clock: sample 0 of the line is the instant it was opened."""

    __slots__ = (
        "_attend_at",
        "_cname",
        "_far",
        "_has_reported",
        "_parked",
        "_parked_frames",
        "_round_trip_s",
        "_rtcp_at",
        "_rtcp_mux",
        "_rtcp_remote",
        "_rtcp_seen",
        "_sent_before",
        "audio",
        "codec",
        "echo",
        "id",
        "inbound",
        "judged",
        "last_turn_ms",
        "listening",
        "opened_at",
        "outbound",
        "place",
        "ports",
        "rest",
        "row",
        "turns",
        "unjudged",
    )  # fmt: skip

    def __init__(
        self,
        leg: str,
        ports: Ports,
        negotiated: Negotiated,
        options: LegOptions,
        audio: InputAudio,
        now: float,
        first_tick_at: float,
        heard: list[tuple[Leg, bytes]],
        randbits: Callable[[int], int],
    ) -> None:
        self.id: Final = leg
        self.ports: Final = ports
        self.audio: Final = audio
        self.echo: Final = options.echo
        self.opened_at: Final = now
        self.inbound: Final = Inbound(
            leg, negotiated, options, audio, now, lambda payload: heard.append((self, payload))
        )
        self.outbound: Final = Outbound(leg, negotiated, options, ports.rtp, self.inbound.guard, randbits)
        self.turns: Final = TurnDetector(options.turns)
        self.place = round((first_tick_at - now) * RATE_HZ)
        """Where on the line the next frame to send begins, in samples."""
        self.codec: Final = self.inbound.codec
        """The law of the line that comes in."""
        # What `offhook.media.hearing` keeps for this leg.
        self.listening = False
        self.row = -1
        self.rest = bytearray()
        self.unjudged = bytearray()
        self.judged = 0
        self.last_turn_ms = (0, 0)
        if options.recorder is not None:
            options.recorder.begin(self.inbound.codec)
        self._cname = options.cname.encode()[:255]
        self._rtcp_at = now + limits.RTCP_INTERVAL_S / 2  # The first report may come early (RFC 3550 section 6.2).
        self._attend_at = now
        self._rtcp_seen: Address | None = None
        self._far: ReportBlock | None = None
        self._round_trip_s: float | None = None
        self._sent_before = 0
        self._has_reported = False
        self._parked_frames = 0
        self._agree(negotiated)

    def renegotiated(self, negotiated: Negotiated, now: float) -> None:
        """Take a new offer and answer."""
        if self._parked:
            self._catch_up(now)
        self.inbound.renegotiated(negotiated, now)
        self.outbound.renegotiated(negotiated)
        self._agree(negotiated)

    def receive(self, data: bytes, address: Address, now: float, edges: list[Edge]) -> None:
        """Take a datagram from the RTP port, unless `Inbound.usual` has taken it."""
        if self._rtcp_mux and is_rtcp(data):
            self.control(data, address, now)
        elif self.echo:
            packet = self.inbound.voice(data, address, now, edges)
            if packet is not None:
                self.outbound.echo(packet)
        else:
            self.inbound.receive(data, address, now, edges)

    def control(self, data: bytes, address: Address, now: float) -> None:
        """Take a datagram from the RTCP port; only the host that sound comes from is believed."""
        target = self.inbound.guard.target
        expected = self._rtcp_remote or target
        if expected is None or address[0] not in {expected[0], target[0] if target else expected[0]}:
            self.inbound.guard.strangers += 1
            return
        try:
            packets = parse_rtcp(data)
        except RtcpError:
            self.inbound.rejected += 1
            return
        self._rtcp_seen = address
        # Who reports is there, though it may have nothing to say: silence need not be sent (RFC 3551 section 4.1).
        self.inbound.heard_at = now
        for packet in packets:
            match packet:
                case SenderReport(ssrc=ssrc, ntp=ntp, blocks=blocks):
                    if ssrc == self.inbound.streams.ssrc:
                        self.inbound.reception.sender_report(ntp, now)
                    self._reported(blocks, now)
                case ReceiverReport(blocks=blocks):
                    self._reported(blocks, now)
                case _:
                    pass

    def tick(self, late_frames: int, now: float, edges: list[Edge], randbits: Callable[[int], int]) -> None:
        """Do what is due every 20 ms, after leaving out so many frames that are too late."""
        if self._parked:
            self._parked_frames += 1 + late_frames
            if now < self._attend_at:
                return
            self._catch_up(now)
        else:
            if late_frames:
                self.outbound.skip(late_frames)
                self.place += late_frames * FRAME_TICKS
            if not self.echo:
                if (now - self.opened_at) * RATE_HZ - self.inbound.jitter.line_end >= LEAST_DEPTH:
                    self.inbound.tick(now)
                self.outbound.tick(self.place, edges)
            self.place += FRAME_TICKS
        if now >= self._attend_at:
            self._attend_at = now + limits.ATTEND_S
            self.inbound.attend(now, edges, quiet=self.turns.quiet)
            if self.turns.listening:
                self._release_input(now)
            if now >= self._rtcp_at:
                self._rtcp_at = now + limits.RTCP_INTERVAL_S * (0.5 + randbits(16) / 65536)
                self._send_control(self._report(now))

    def _catch_up(self, now: float) -> None:
        """Let the time pass that a leg without sound either way has left out."""
        frames, self._parked_frames = self._parked_frames, 0
        self.outbound.skip(frames)
        self.place += frames * FRAME_TICKS
        self.inbound.tick(now)

    def _release_input(self, now: float) -> None:
        """Give up old input: what was said last stays whole until it has long been asked for."""
        now_ms = self.ms(now)
        oldest_ms = now_ms - limits.BETWEEN_TURNS_S * 1000
        start_ms, end_ms = self.last_turn_ms
        if end_ms >= oldest_ms and end_ms:
            oldest_ms = min(start_ms, oldest_ms)
        elif self._parked:
            oldest_ms = now_ms
        self.audio.release(oldest_ms)

    def say_goodbye(self, now: float) -> None:
        """Send the last report, and tell the other side that nothing more comes (RFC 3550 section 6.6).

        Who never sent anything leaves without a word (section 6.3.7).
        """
        if self.outbound.packets or self._has_reported:
            self._send_control([*self._report(now), Goodbye((self.outbound.ssrc,))])

    def stats(self) -> LegStats:
        """Read the counters."""
        inbound, outbound, jitter, far = self.inbound, self.outbound, self.inbound.jitter, self._far
        reception = inbound.reception
        return LegStats(
            received=reception.received,
            lost=reception.lost,
            late=jitter.late,
            duplicate=jitter.duplicate,
            reordered=jitter.reordered,
            concealed_ms=jitter.concealed_ticks // TICKS_PER_MS,
            restarts=jitter.restarts,
            jitter_ms=reception.jitter / TICKS_PER_MS,
            depth_ms=jitter.depth // TICKS_PER_MS,
            strangers=inbound.guard.strangers,
            rejected=inbound.rejected,
            source_changes=inbound.streams.changes,
            keys=inbound.keys,
            sent=outbound.packets,
            send_errors=outbound.send_errors,
            underruns=outbound.playout.underruns,
            refused_chunks=outbound.playout.refused,
            stale_chunks=outbound.playout.stale,
            queued_ms=round(outbound.playout.queued_ms),
            far_lost=far.cumulative_lost if far else None,
            far_fraction_lost=far.fraction_lost / 256 if far else None,
            far_jitter_ms=far.jitter / TICKS_PER_MS if far else None,
            round_trip_ms=None if self._round_trip_s is None else self._round_trip_s * 1000,
        )

    def ms(self, now: float) -> int:
        """Return where an instant lies on the line."""
        return int((now - self.opened_at) * 1000)

    def _agree(self, negotiated: Negotiated) -> None:
        self._parked = negotiated.direction is Direction.INACTIVE and not self.echo
        self._rtcp_mux = negotiated.rtcp_mux
        self._rtcp_remote = negotiated.rtcp_remote
        self._rtcp_seen = None

    def _reported(self, blocks: tuple[ReportBlock, ...], now: float) -> None:
        for block in blocks:
            if block.ssrc == self.outbound.ssrc:
                self._far = block
                trip = round_trip_s(block, now)
                self._round_trip_s = self._round_trip_s if trip is None else trip

    def _report(self, now: float) -> list[ControlPacket]:
        """Make a report: of a sender if something was sent since the last one (RFC 3550 section 6.4)."""
        outbound = self.outbound
        heard = self.inbound.streams.ssrc is not None
        blocks = (self.inbound.reception.report(now),) if heard else ()
        report: ControlPacket
        if outbound.packets > self._sent_before:
            # The timestamp of this very instant: frames are stamped when their time comes, up to one of them ahead.
            place = int((now - self.opened_at) * RATE_HZ) - self.place
            timestamp = outbound.timestamp + (0 if self.echo else place) & 0xFFFFFFFF
            report = SenderReport(
                outbound.ssrc,
                ntp_time(now),
                timestamp,
                outbound.packets & 0xFFFFFFFF,
                outbound.octets & 0xFFFFFFFF,
                blocks,
            )
        else:
            report = ReceiverReport(outbound.ssrc, blocks)
        self._sent_before = outbound.packets
        return [report, SourceDescription(((outbound.ssrc, self._cname),))]

    def _send_control(self, packets: list[ControlPacket]) -> None:
        target = self.inbound.guard.target
        if target is None:
            return
        self._has_reported = True
        port = self.ports.rtp if self._rtcp_mux else self.ports.rtcp
        if not self._rtcp_mux:
            target = self._rtcp_seen or self._rtcp_remote or (target[0], target[1] + 1, *target[2:])
        try:
            port.send(build_rtcp(packets), target)
        except (OSError, OverflowError):  # The port above 65535 is none.
            self.outbound.send_errors += 1
