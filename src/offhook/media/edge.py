"""What the plane tells the rest of the server: edges, never frames.

``leg`` is the id that the leg was opened with. ``at_ms`` is a place on the leg's time line: milliseconds since it was
opened, the same line that `MediaPlane.input_audio` is asked by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from offhook.media.stats import LegStats


@dataclass(frozen=True, slots=True)
class LegOpened:
    """The leg's time line begins; ``opened_at`` is that instant on the clock that the plane is stepped with."""

    leg: str
    at_ms: int
    opened_at: float


@dataclass(frozen=True, slots=True)
class MediaStarted:
    """The first packet came."""

    leg: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class MediaTimedOut:
    """No packet came for ``after_s`` though the direction lets them come. Said once for each silence."""

    leg: str
    at_ms: int
    after_s: float


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak at ``at_ms``; a recogniser wants the sound from ``audio_from_ms``."""

    leg: str
    at_ms: int
    audio_from_ms: int
    decided_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller, who had begun at ``start_ms``, stopped at ``at_ms``; known once the silence had lasted."""

    leg: str
    at_ms: int
    start_ms: int
    decided_ms: int

    @property
    def end_ms(self) -> int:
        """Where the speech ended."""
        return self.at_ms


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The caller may have stopped at ``at_ms``; whether the turn ends there is not known yet."""

    leg: str
    at_ms: int
    decided_ms: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The caller, who had paused, speaks on."""

    leg: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class DtmfReceived:
    """The caller pressed a key."""

    leg: str
    at_ms: int
    digit: str


@dataclass(frozen=True, slots=True)
class DtmfSent:
    """All keys of one command were pressed for the caller."""

    leg: str
    at_ms: int
    digits: str


@dataclass(frozen=True, slots=True)
class PlayoutStarted:
    """The first sample of a run was sent."""

    leg: str
    at_ms: int
    run: int


@dataclass(frozen=True, slots=True)
class Played:
    """So much of a run has been sent; told every 100 ms."""

    leg: str
    at_ms: int
    run: int
    played_ms: int


@dataclass(frozen=True, slots=True)
class PlayoutFinished:
    """The last sample of a run was sent."""

    leg: str
    at_ms: int
    run: int
    played_ms: int


@dataclass(frozen=True, slots=True)
class PlayoutStopped:
    """A run was cut on command: ``played_ms`` of it were really sent, and nothing after this edge."""

    leg: str
    at_ms: int
    run: int
    played_ms: int


@dataclass(frozen=True, slots=True)
class PlayoutOverflowed:
    """The queue is full: ``dropped_ms`` of a run were refused. Said once for each run."""

    leg: str
    at_ms: int
    run: int
    dropped_ms: int


@dataclass(frozen=True, slots=True)
class LegClosed:
    """The leg is no more; its last edge. A run that was playing has been stopped before."""

    leg: str
    at_ms: int
    stats: LegStats


@dataclass(frozen=True, slots=True)
class MediaFailed:
    """The leg could not be opened, or it broke and is closed; the other legs run on."""

    leg: str
    at_ms: int
    reason: str


Edge: TypeAlias = (
    LegOpened
    | MediaStarted
    | MediaTimedOut
    | SpeechStarted
    | SpeechPaused
    | SpeechResumed
    | SpeechStopped
    | DtmfReceived
    | DtmfSent
    | PlayoutStarted
    | Played
    | PlayoutFinished
    | PlayoutStopped
    | PlayoutOverflowed
    | MediaFailed
    | LegClosed
)
