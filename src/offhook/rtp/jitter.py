"""The jitter buffer: packets in any order become one line of sound in which time stays true.

The timestamp places a packet on the line, the sequence number tells loss from silence that was never sent. Whatever
is next in order is handed on at once, for whoever only listens; only a *hole* waits, up to the buffer's depth, before
it is declared lost. So the depth delays nothing but the news of a loss, and can change without stretching the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from offhook.rtp import limits
from offhook.rtp.packet import signed_16, signed_32

MS: Final = limits.CLOCK_HZ // 1000
START_DEPTH: Final = 40 * MS
LEAST_DEPTH: Final = 20 * MS
MOST_DEPTH: Final = 120 * MS

_GROW: Final = 10 * MS  # Spare depth above the lateness that was seen.
_SHRINK: Final = 10 * MS
_SHRINK_AFTER: Final = 5000 * MS  # So long without a late packet before the depth gives way again.
_LONGEST_PAUSE: Final = 500 * MS  # A larger step of the timestamp alone is a new clock, not a pause.
_RESTART_AFTER: Final = 100 * MS  # Late packets in order for so long mean that the path or the clock has moved.
_IDLE_AFTER: Final = 120 * MS  # Nothing at all for so long is a pause of the sender, not loss to conceal.
_DRIFT_PACKETS: Final = 100  # Packets over which the best arrival is taken: two seconds.
_SHORTEST_FRAME: Final = 10 * MS  # Fill at least by so much at a time, whatever a peer sends.
_DRIFT_LEAST: Final = 20 * MS  # Clocks that have drifted apart less than a frame are left alone.


class Frame(NamedTuple):
    """Sound that arrived, with its RTP payload type."""

    payload: bytes
    payload_type: int


class Lost(NamedTuple):
    """Sound that was sent but is not there: to be concealed. In clock ticks, which are samples."""

    ticks: int


class Pause(NamedTuple):
    """Time in which the sender sent nothing."""

    ticks: int


Piece: TypeAlias = Frame | Lost | Pause
_RECENT: Final = (1 << limits.MAX_MISORDER) - 1
_NOTHING: Final[tuple[Piece, ...]] = ()


class _Waiting(NamedTuple):
    sequence: int
    timestamp: int
    payload: bytes
    payload_type: int


class JitterBuffer:
    """Puts the packets of one source in order.

    `put` takes a packet and `fill` the passing of time; both return the pieces of the line that are now known, in order
    and without overlap. All times are clock ticks (8 kHz), ``now`` on the same line as `line_end`, which begins at the
    ``start`` given. One payload byte is one tick (G.711).

    ``depth`` is what it starts with and comes back to in calm, at least `LEAST_DEPTH` and at most `MOST_DEPTH`. With 0
    nothing waits: a hole is lost as soon as a later packet shows it.
    """

    __slots__ = (
        "_best",
        "_calm_depth",
        "_cut",
        "_drift",
        "_filled",
        "_frame",
        "_late_since",
        "_next",
        "_offset",
        "_packets",
        "_recent",
        "_settled_at",
        "_suspect",
        "_waiting",
        "_waits",
        "concealed_ticks",
        "depth",
        "duplicate",
        "late",
        "line_end",
        "lost",
        "overflowed",
        "reordered",
        "restarts",
        "skipped_ticks",
    )

    def __init__(self, *, start: int = 0, depth: int = START_DEPTH) -> None:
        self._waits = depth > 0
        self._calm_depth = min(max(depth, LEAST_DEPTH), MOST_DEPTH) if depth else START_DEPTH
        self.depth = self._calm_depth
        """How long a hole waits, and how far the line may lag behind the clock when nothing comes."""
        self.line_end = start
        """How far the line reaches."""
        self.lost = self.late = self.duplicate = self.reordered = self.restarts = self.overflowed = 0
        self.concealed_ticks = self.skipped_ticks = 0
        self._waiting: dict[int, _Waiting] = {}
        self._frame = 20 * MS
        self._next = -1  # The sequence number that continues the line; -1 before the first packet.
        self._offset = 0  # What to subtract from a timestamp to get a place on the line.
        self._filled = 0  # Ticks filled since the last packet that was heard.
        self._suspect = -1
        self._late_since: int | None = None
        self._settled_at = start
        self._recent = 0  # Bit n: sequence number _next - 1 - n has come.
        self._best = -_LONGEST_PAUSE
        self._packets = 0
        self._drift = 0
        self._cut = False  # The next packet is to be left out, to let our clock catch up.

    def reset(self) -> None:
        """Begin with another source: what waits is given up, the line goes on where it is."""
        self._waiting.clear()
        self._next = -1
        self._suspect = -1
        self._late_since = None
        self._recent = 0
        self._forget_drift()

    def put(
        self, sequence: int, timestamp: int, payload: bytes, payload_type: int, marker: bool, now: int
    ) -> Sequence[Piece]:
        """Take a packet. An empty payload holds no sound but keeps its sequence number from being missed."""
        if self.follows(sequence, timestamp, len(payload), now):
            return (Frame(payload, payload_type),)
        if self._next < 0:
            self._anchor(sequence, timestamp, len(payload), now)
        step = signed_16(sequence - self._next)
        if step == 0:
            pieces = self._append(sequence, timestamp, payload, payload_type, marker, now)
            if self._waiting:
                self.reordered += 1
                pieces += self._release(now)
            return pieces
        if -limits.MAX_MISORDER <= step < 0:
            self._count_old(-step - 1, signed_32(timestamp - self._offset - now) + len(payload), now)
            return _NOTHING
        if 0 < step <= limits.BUFFERED_PACKETS:
            return self._wait(_Waiting(sequence, timestamp, payload, payload_type), now)
        # A jump: two in a row make a restart (RFC 3550 appendix A.1), a single one is a stray.
        if sequence != self._suspect:
            self._suspect = sequence + 1 & 0xFFFF
            return _NOTHING
        self.restarts += 1
        self.reset()
        self._anchor(sequence, timestamp, len(payload), now)
        return self._append(sequence, timestamp, payload, payload_type, marker, now)

    def follows(self, sequence: int, timestamp: int, ticks: int, now: int) -> bool:
        """Take a packet if it is exactly what continues the line, as nearly all packets are; tell whether it was.

        Then its whole payload is the next piece. Whoever is told False calls `put`.
        """
        if (
            sequence != self._next
            or self._waiting
            or not ticks
            or timestamp - self._offset - self.line_end & 0xFFFFFFFF
        ):
            return False
        self._next = sequence + 1 & 0xFFFF
        self._recent = (self._recent << 1 | 1) & _RECENT
        self._suspect = -1
        self.line_end += ticks
        self._settle(ticks, now)
        return True

    def fill(self, now: int) -> Sequence[Piece]:
        """Let time pass: what should have come by now is declared lost, or a pause where nothing was expected."""
        if self.line_end + self._frame > now - self.depth:
            return _NOTHING
        pieces: list[Piece] = []
        while (due := (now - self.depth - self.line_end) // self._frame) > 0:
            if self._waiting:
                first = min(self._waiting.values(), key=self._order)
                pieces += self._bridge_to(first)
                pieces += self._release(now)
            elif self._filled < _IDLE_AFTER and self._next >= 0:
                self._filled += self._frame
                self.concealed_ticks += self._frame
                self.line_end += self._frame
                pieces.append(Lost(self._frame))
            else:
                self.line_end += due * self._frame
                pieces.append(Pause(due * self._frame))
        return pieces

    @property
    def drift(self) -> int:
        """How far the sender's clock has run ahead of ours (positive) or behind, where it is worth correcting."""
        return self._drift

    def correct(self) -> None:
        """Take up to a frame of drift out: cut the next packet, or make a pause. Call it while the line is silent."""
        self._cut = self._drift > 0
        self._offset += max(min(self._drift, self._frame), -self._frame)
        self._forget_drift()

    def _order(self, waiting: _Waiting) -> int:
        return signed_16(waiting.sequence - self._next)

    def _anchor(self, sequence: int, timestamp: int, ticks: int, now: int) -> None:
        """Place the first packet so that it ends now: the sound had to be spoken before it could be sent."""
        self._next = sequence
        self._offset = timestamp - max(now - ticks, self.line_end)
        self._forget_drift()

    def _append(
        self, sequence: int, timestamp: int, payload: bytes, payload_type: int, marker: bool, now: int
    ) -> list[Piece]:
        """Continue the line with the packet that is next in order."""
        self._next = sequence + 1 & 0xFFFF
        self._recent = (self._recent << 1 | 1) & _RECENT
        self._suspect = -1
        ticks = len(payload)
        if not ticks:
            return []
        place = self._place(timestamp, ticks, marker, now)
        cut, self._cut = self._cut, False
        if cut:
            self.skipped_ticks += min(max(-place, 0), ticks)
        elif place < 0:
            self._deepen(now - self.line_end - place - ticks, now)
        if place + ticks <= 0:
            if not cut:
                self.late += 1
                self._late_since = now if self._late_since is None else self._late_since
            return []
        pieces: list[Piece] = [Pause(place)] if place > 0 else []
        pieces.append(Frame(payload[-place:] if place < 0 else payload, payload_type))
        self.line_end += place + ticks
        self._settle(ticks, now)
        return pieces

    def _settle(self, ticks: int, now: int) -> None:
        """Note that the line has been continued in time: what was late before is over."""
        self._late_since = None
        self._filled = 0
        if ticks != self._frame:
            self._frame = max(_SHORTEST_FRAME, ticks)
        if self.depth > self._calm_depth and now - self._settled_at >= _SHRINK_AFTER:
            self.depth = max(self.depth - _SHRINK, self._calm_depth)
            self._settled_at = now
        # The best arrival of a while: delay only ever adds, so the best one shows where the clocks stand.
        ahead = self.line_end - now
        if ahead > self._best:
            self._best = ahead
        self._packets += 1
        if self._packets == _DRIFT_PACKETS:
            self._drift = self._best if abs(self._best) >= _DRIFT_LEAST else 0
            self._best, self._packets = -_LONGEST_PAUSE, 0

    def _place(self, timestamp: int, ticks: int, marker: bool, now: int) -> int:
        """Return where a packet begins, from the line's end; a clock that has jumped is set anew."""
        place = signed_32(timestamp - self._offset - self.line_end)
        # A talkspurt may begin on a clock that stood still in the pause before it; its marker bit says so.
        stale = place + ticks <= 0 and not self._cut and (marker or self._moved(now))
        if stale or not -_LONGEST_PAUSE <= place <= _LONGEST_PAUSE:
            self.restarts += 1
            self._offset = timestamp - max(now - ticks, self.line_end)
            self._forget_drift()
            place = signed_32(timestamp - self._offset - self.line_end)
        return place

    def _wait(self, packet: _Waiting, now: int) -> Sequence[Piece]:
        if packet.sequence in self._waiting:
            self.duplicate += 1
            return _NOTHING
        self._waiting[packet.sequence] = packet
        if self._waits and len(self._waiting) < limits.BUFFERED_PACKETS:
            return _NOTHING
        self.overflowed += self._waits
        first = min(self._waiting.values(), key=self._order)
        return [*self._bridge_to(first), *self._release(now)]

    def _bridge_to(self, packet: _Waiting) -> list[Piece]:
        """Declare lost what lies between the line's end and a packet that waits."""
        missing = self._order(packet)
        self.lost += missing
        self._recent = self._recent << missing & _RECENT
        self._next = packet.sequence
        hole = signed_32(packet.timestamp - self._offset - self.line_end)
        if not 0 < hole <= _LONGEST_PAUSE:
            return []
        # A sender's pause may lie in the hole as well; more than the missing packets could hold is not concealed.
        lost = min(hole, missing * self._frame)
        self.line_end += hole
        self.concealed_ticks += lost
        return [Lost(lost), Pause(hole - lost)] if hole > lost else [Lost(lost)]

    def _release(self, now: int) -> list[Piece]:
        """Hand on the packets that waited and are now next in order."""
        pieces: list[Piece] = []
        while self._next in self._waiting:
            packet = self._waiting.pop(self._next)
            pieces += self._append(packet.sequence, packet.timestamp, packet.payload, packet.payload_type, False, now)
        return pieces

    def _count_old(self, age: int, ahead: int, now: int) -> None:
        """Count a packet whose place in the order was given up: a copy, or one that came too late."""
        if self._recent >> age & 1:
            self.duplicate += 1
            return
        self._recent |= 1 << age
        self.late += 1
        self.lost -= self.lost > 0
        self._deepen(-ahead, now)

    def _deepen(self, late_by: int, now: int) -> None:
        """Wait longer from now on, so that the next packet that is as late as this one is waited for."""
        if self._waits:
            self.depth = min(max(self.depth, late_by + _GROW), MOST_DEPTH)
            self._settled_at = now

    def _moved(self, now: int) -> bool:
        """Whether packets have been late, in order, for so long that the delay itself must have changed."""
        return self._late_since is not None and now - self._late_since >= _RESTART_AFTER

    def _forget_drift(self) -> None:
        self._best, self._packets, self._drift = -_LONGEST_PAUSE, 0, 0
