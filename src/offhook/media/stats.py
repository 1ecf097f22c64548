"""What was counted on one leg."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LegStats:
    """A leg's counters at one moment.

    ``lost`` and ``jitter_ms`` are ours about the caller's packets; ``far_lost`` and ``far_jitter_ms`` are what the
    caller last reported about ours, and ``round_trip_ms`` comes from the same report; None before there was one.
    """

    received: int
    lost: int
    late: int
    duplicate: int
    reordered: int
    concealed_ms: int
    restarts: int
    jitter_ms: float
    depth_ms: int
    strangers: int
    rejected: int
    source_changes: int
    keys: int
    sent: int
    send_errors: int
    underruns: int
    refused_chunks: int
    stale_chunks: int
    queued_ms: int
    far_lost: int | None
    far_fraction_lost: float | None
    far_jitter_ms: float | None
    round_trip_ms: float | None
