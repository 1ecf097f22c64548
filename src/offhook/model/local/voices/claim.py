"""Stretches of a text that are said differently from how they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """``text[start:end]`` is said as ``say``; empty: it is not said."""

    start: int
    end: int
    say: str


class Claims:
    """Claims on one text that do not overlap; of two that do, the first one to come stays."""

    def __init__(self, length: int) -> None:
        self._owned = bytearray(length)
        self._claims: list[Claim] = []

    def add(self, claims: Iterable[Claim]) -> None:
        """Take what nobody has claimed before."""
        for claim in claims:
            if claim.start < claim.end and not any(self._owned[claim.start : claim.end]):
                self._owned[claim.start : claim.end] = b"\1" * (claim.end - claim.start)
                self._claims.append(claim)

    def in_order(self) -> list[Claim]:
        """Return all claims, first to last."""
        return sorted(self._claims, key=lambda claim: claim.start)
