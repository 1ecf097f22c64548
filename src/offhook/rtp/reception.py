"""What a receiver counts about one source, and what it reports (RFC 3550 sections 6.4, A.1, A.3 and A.8)."""

from __future__ import annotations

from typing import Final

from offhook.rtp import limits
from offhook.rtp.packet import signed_16, signed_32
from offhook.rtp.rtcp import ReportBlock

_SHORT_NTP_HZ: Final = 65536


def ntp_time(now: float) -> int:
    """Write seconds of any steady clock as 64-bit NTP fixed point.

    RFC 3550 section 6.4.1 lets a sender use elapsed time instead of the time of day: only differences matter here.
    """
    return int(now * 2**32) & 0xFFFF_FFFF_FFFF_FFFF


class Reception:
    """Counts the packets of one synchronisation source: loss, jitter and what a report block needs."""

    __slots__ = (
        "_base",
        "_expected_before",
        "_last_sr",
        "_last_sr_at",
        "_received_before",
        "_restart",
        "_transit",
        "highest",
        "jitter",
        "received",
        "ssrc",
    )

    def __init__(self, ssrc: int, sequence: int) -> None:
        self.ssrc = ssrc
        self.received = 0
        self.jitter = 0.0
        """Interarrival jitter in clock ticks (section 6.4.1)."""
        self.highest = sequence - 1
        """The extended highest sequence number: the wraps counted above 16 bits."""
        self._base = sequence
        self._restart = -1
        self._transit: int | None = None
        self._received_before = 0
        self._expected_before = 0
        self._last_sr = 0
        self._last_sr_at = 0.0

    def packet(self, sequence: int, timestamp: int | None, now_ticks: int) -> None:
        """Count a packet that came at ``now_ticks``; ``timestamp`` is None where it does not tell the sending time.

        That is so for telephone events, whose timestamps stand still (RFC 4733 section 2.2).
        """
        step = sequence - self.highest & 0xFFFF
        if step == 1:
            self.highest += 1
        elif not self._misordered(sequence, signed_16(step)):
            return
        self.received += 1
        if timestamp is None:
            return
        transit = now_ticks - timestamp
        if self._transit is not None:
            change = transit - self._transit & 0xFFFF_FFFF
            if change > 0x7FFF_FFFF:
                change = 0x1_0000_0000 - change
            self.jitter += (change - self.jitter) / 16
        self._transit = transit

    def _misordered(self, sequence: int, step: int) -> bool:
        """Follow a sequence number that is not the next one; tell whether the packet counts."""
        if step > limits.MAX_DROPOUT or step < -limits.MAX_MISORDER:
            # Two in a row make a restart of the source (appendix A.1); a single one is a stray.
            if sequence != self._restart:
                self._restart = sequence + 1 & 0xFFFF
                return False
            self._base = self.highest = sequence
            self.received = self._received_before = self._expected_before = 0
        elif step > 0:
            self.highest += step
        return True

    @property
    def expected(self) -> int:
        """How many packets the source has sent, as far as sequence numbers tell."""
        return self.highest - self._base + 1

    @property
    def lost(self) -> int:
        """How many of them are missing; negative when duplicates came."""
        return self.expected - self.received

    def sender_report(self, ntp: int, now: float) -> None:
        """Remember when the source's last sender report came, for the round trip that it will compute."""
        self._last_sr = ntp >> 16 & 0xFFFF_FFFF
        self._last_sr_at = now

    def report(self, now: float) -> ReportBlock:
        """Make the block about this source for the next report; ends the interval of the loss fraction."""
        expected = self.expected - self._expected_before
        lost = expected - (self.received - self._received_before)
        self._expected_before, self._received_before = self.expected, self.received
        fraction = min((lost << 8) // expected, 255) if expected > 0 and lost > 0 else 0
        since = int((now - self._last_sr_at) * _SHORT_NTP_HZ) if self._last_sr else 0
        return ReportBlock(
            self.ssrc,
            fraction,
            max(min(self.lost, 0x7FFFFF), -0x800000),
            self.highest & 0xFFFF_FFFF,
            int(self.jitter) & 0xFFFF_FFFF,
            self._last_sr,
            min(max(since, 0), 0xFFFF_FFFF),
        )


def round_trip_s(block: ReportBlock, now: float) -> float | None:
    """Compute the round trip from a report about ourselves (section 6.4.1), or None if it answers no report of ours.

    ``now`` is on the clock that `ntp_time` was given for our sender report. A result that is negative or above a minute
    is the peer's mistake, not a distance.
    """
    if not block.last_sr:
        return None
    arrived = ntp_time(now) >> 16 & 0xFFFF_FFFF
    trip = signed_32(arrived - block.last_sr - block.delay_since_last_sr) / _SHORT_NTP_HZ
    return trip if 0 <= trip < 60 else None
