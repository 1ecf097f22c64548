"""What the agent counts instead of logging it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Totals since the start; they only grow."""

    received: int = 0
    malformed: int = 0
    """Bytes that were no SIP message, answered where they could be."""
    dropped_source: int = 0
    """Messages from outside the allow-list."""
    dropped_scanner: int = 0
    dropped_rate: int = 0
    """New requests above a source's rate."""
    dropped_full: int = 0
    """Requests refused without state because the transaction table was full."""
    retransmissions_absorbed: int = 0
    stray_responses: int = 0
    """Responses to nothing we sent, or to something long over."""
    stray_acks: int = 0
    merged: int = 0
    """Requests that came twice on different ways (482)."""
    rejected: int = 0
    """Requests that the agent refused on its own, before the host saw them."""
    refused_busy: int = 0
    """INVITEs refused with 503: full, or draining."""
    transport_failures: int = 0
    keepalives: int = 0
    calls_in: int = 0
    calls_out: int = 0
    legs_lost: int = 0
