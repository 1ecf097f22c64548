"""The trace of one session: spans with a beginning, an end and a few facts, none of them what was said."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

# An hour of talk has about 4,000; what comes after the limit is counted, not kept.
MAX_SPANS: Final = 5_000
# A client's own metadata goes out with the first span.
MAX_METADATA_BYTES: Final = 16 * 1024


class Span(msgspec.Struct, frozen=True):
    """A stretch of time that something took. Ids are hexadecimal, times Unix seconds."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_s: float
    end_s: float
    failed: bool = False
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)


class SpanSink(Protocol):
    """Keeps or passes on the spans of sessions that have ended."""

    def save_spans(self, call_id: str, spans: Sequence[Span]) -> None:
        """Take the spans of one session; never waits."""
        ...


class _Open(msgspec.Struct):
    span_id: str
    parent_id: str | None
    name: str
    start: float
    attributes: dict[str, Any]


class Trace:
    """Spans by keys of whoever makes them. ``epoch_s`` is the Unix time of the clock's zero; ``seed`` makes the ids."""

    def __init__(self, seed: bytes, epoch_s: float) -> None:
        self.id = hashlib.sha256(b"trace" + seed).hexdigest()[:32]
        self._epoch_s = epoch_s
        self._open: dict[str, _Open] = {}
        self._ids: dict[str, str] = {}
        self._spans: list[Span] = []
        self._count = 0
        self.dropped = 0

    def begin(self, key: str, name: str, now: float, *, parent: str | None = None, **attributes: Any) -> None:
        """Begin a span under a key; its parent is the last span of another key, which may have ended."""
        self._count += 1
        span_id = hashlib.sha256(f"{self.id}{self._count}".encode()).hexdigest()[:16]
        if len(self._ids) >= MAX_SPANS and key not in self._ids:
            self.dropped += 1
            return
        self._ids[key] = span_id
        self._open[key] = _Open(span_id, self._ids.get(parent or ""), name, now, attributes)

    def finish(self, key: str, now: float, *, failed: bool = False, **attributes: Any) -> None:
        """End the span of a key; one that was never begun, or has ended, is left alone."""
        span = self._open.pop(key, None)
        if span is None:
            return
        if len(self._spans) >= MAX_SPANS:
            self.dropped += 1
            return
        given = {name: value for name, value in (span.attributes | attributes).items() if value is not None}
        start_s, end_s = self._epoch_s + span.start, self._epoch_s + now
        self._spans.append(
            Span(self.id, span.span_id, span.parent_id, span.name, start_s, max(start_s, end_s), failed, given)
        )

    def finish_all(self, now: float, *, but: Container[str] = ()) -> None:
        """End what is still open, the youngest first, ``but`` for some keys."""
        for key in reversed(list(self._open)):
            if key not in but:
                self.finish(key, now)

    @property
    def spans(self) -> Sequence[Span]:
        """Those that have ended, in the order of their ends."""
        return tuple(self._spans)
