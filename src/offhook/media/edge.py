"""What the plane tells the rest of the server: edges, never frames.

``leg`` is the id that the leg was opened with. ``at_ms`` is a place on the leg's time line: milliseconds since it was
opened, the same line that `MediaPlane.input_audio` is asked by.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from offhook.media.stats import LegStats


class LegOpened(msgspec.Struct, frozen=True):
    """The leg's time line begins; ``opened_at`` is that instant on the clock that the plane is stepped with."""

    leg: str
    at_ms: int
    opened_at: float


class MediaStarted(msgspec.Struct, frozen=True):
    """The first packet came."""

    leg: str
    at_ms: int


class MediaTimedOut(msgspec.Struct, frozen=True):
    """No packet came for ``after_s`` though the direction lets them come. Said once for each silence."""

    leg: str
    at_ms: int
    after_s: float


class SpeechStarted(msgspec.Struct, frozen=True):
    """The caller began to speak at ``at_ms``; a recogniser wants the sound from ``audio_from_ms``."""

    leg: str
    at_ms: int
    audio_from_ms: int
    decided_ms: int


class SpeechStopped(msgspec.Struct, frozen=True):
    """The caller, who had begun at ``start_ms``, stopped at ``at_ms``; known once the silence had lasted."""

    leg: str
    at_ms: int
    start_ms: int
    decided_ms: int

    @property
    def end_ms(self) -> int:
        """Where the speech ended."""
        return self.at_ms


class SpeechPaused(msgspec.Struct, frozen=True):
    """The caller may have stopped at ``at_ms``; whether the turn ends there is not known yet."""

    leg: str
    at_ms: int
    decided_ms: int


class SpeechResumed(msgspec.Struct, frozen=True):
    """The caller, who had paused, speaks on."""

    leg: str
    at_ms: int


class DtmfReceived(msgspec.Struct, frozen=True):
    """The caller pressed a key."""

    leg: str
    at_ms: int
    digit: str


class DtmfSent(msgspec.Struct, frozen=True):
    """All keys of one command were pressed for the caller."""

    leg: str
    at_ms: int
    digits: str


class PlayoutStarted(msgspec.Struct, frozen=True):
    """The first sample of a run was sent."""

    leg: str
    at_ms: int
    run: int


class Played(msgspec.Struct, frozen=True):
    """So much of a run has been sent; told every 100 ms."""

    leg: str
    at_ms: int
    run: int
    played_ms: int


class PlayoutFinished(msgspec.Struct, frozen=True):
    """The last sample of a run was sent."""

    leg: str
    at_ms: int
    run: int
    played_ms: int


class PlayoutStopped(msgspec.Struct, frozen=True):
    """A run was cut on command: ``played_ms`` of it were really sent, and nothing after this edge."""

    leg: str
    at_ms: int
    run: int
    played_ms: int


class PlayoutOverflowed(msgspec.Struct, frozen=True):
    """The queue is full: ``dropped_ms`` of a run were refused. Said once for each run."""

    leg: str
    at_ms: int
    run: int
    dropped_ms: int


class FillerEnded(msgspec.Struct, frozen=True):
    """A filler is over: it was stopped, a run began, or its last sample was sent, after ``played_ms`` of it."""

    leg: str
    at_ms: int
    number: int
    played_ms: int


class LegClosed(msgspec.Struct, frozen=True):
    """The leg is no more; its last edge. A run that was playing has been stopped before."""

    leg: str
    at_ms: int
    stats: LegStats


class MediaFailed(msgspec.Struct, frozen=True):
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
    | FillerEnded
    | MediaFailed
    | LegClosed
)
