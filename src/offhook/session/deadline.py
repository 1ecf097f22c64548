"""The first of several deadlines: asked for after everything that happens."""

from __future__ import annotations


def earliest(*times: float | None) -> float | None:
    """Return the first of some times, of which None is never."""
    first: float | None = None
    for time in times:
        if time is not None and (first is None or time < first):
            first = time
    return first
