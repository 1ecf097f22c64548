"""Counters and histograms of this process, in the text that Prometheus reads.

Source: Prometheus, "Text-based format", version 0.0.4. A registry of a few dozen figures needs no library.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# From a local model's first word to the time-out of a tool.
BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)

COUNTERS: Final = {
    "offhook_calls_total": "calls that have ended, by result",
    "offhook_turns_total": "turns of callers",
    "offhook_responses_total": "responses, by status",
    "offhook_interruptions_total": "responses that the caller broke into",
    "offhook_tokens_total": "tokens of responses: input (with the cached ones), cached, output",
    "offhook_transcripts_total": "turns whose words were wanted, by result",
    "offhook_cost_total": "what the backends cost, as far as they have prices",
    "offhook_tool_calls_total": "calls of functions and of MCP tools, by kind and result",
    "offhook_slow_sockets_total": "sockets that were closed since their events were not read, by whose bound it was",
    "offhook_upstream_connections_total": "sockets to an upstream: opened, lost, refused",
}
# Without prices there is no figure: a zero would be one.
_ABSENT_AT_FIRST: Final = frozenset({"offhook_cost_total"})
HISTOGRAMS: Final = {
    "offhook_hear_seconds": "from the end of a turn to its words",
    "offhook_think_seconds": "from the request to the model's first word or call",
    "offhook_speak_seconds": "from the first word to its first sound",
    "offhook_answer_seconds": "from the caller's last sound to the first sample of the answer",
    "offhook_generate_seconds": "from the request to the end of the response",
    "offhook_tool_seconds": "from the call of a tool to its result",
}


class _Histogram:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0


class Metrics:
    """What is counted. Names and labels are ours alone, so their number needs no limit of its own."""

    def __init__(self) -> None:
        self._counters: dict[str, dict[str, float]] = {name: {} for name in COUNTERS}
        self._histograms = {name: _Histogram() for name in HISTOGRAMS}

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter of ``COUNTERS``."""
        key = labels_text(labels)
        counter = self._counters[name]
        counter[key] = counter.get(key, 0) + value

    def observe(self, name: str, seconds: float) -> None:
        """Add a duration to a histogram of ``HISTOGRAMS``; clocks that go back count as nothing."""
        histogram, seconds = self._histograms[name], max(seconds, 0.0)
        histogram.counts[bisect_left(BUCKETS_S, seconds)] += 1
        histogram.sum_s += seconds

    def text(self, gauges: Mapping[str, tuple[str, float | Mapping[str, float]]]) -> str:
        """Return everything; ``gauges`` are what is measured at this moment: a name, what it is, and its value.

        A gauge may have a value for each of several labels, written as ``labels_text`` does; none is no gauge.
        """
        return "\n".join([*self._counter_lines(), *self._histogram_lines(), *_gauge_lines(gauges), ""])

    def _counter_lines(self) -> Iterator[str]:
        for name, what in COUNTERS.items():
            if name in _ABSENT_AT_FIRST and not self._counters[name]:
                continue
            yield from _head(name, what, "counter")
            values = self._counters[name] or {"": 0}
            for labels, value in values.items():
                yield f"{name}{{{labels}}} {value:.15g}" if labels else f"{name} {value:.15g}"

    def _histogram_lines(self) -> Iterator[str]:
        for name, what in HISTOGRAMS.items():
            yield from _head(name, what, "histogram")
            histogram, so_far = self._histograms[name], 0
            for bound, count in zip((*BUCKETS_S, float("inf")), histogram.counts, strict=True):
                so_far += count
                shown = "+Inf" if bound == float("inf") else f"{bound:g}"
                yield f'{name}_bucket{{le="{shown}"}} {so_far}'
            yield f"{name}_sum {histogram.sum_s:.6f}"
            yield f"{name}_count {so_far}"


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as they stand between braces. Their values are names of ours, or checked: nothing is escaped."""
    return ",".join(f'{label}="{value}"' for label, value in labels.items())


def _gauge_lines(gauges: Mapping[str, tuple[str, float | Mapping[str, float]]]) -> Iterator[str]:
    for name, (what, value) in gauges.items():
        if isinstance(value, Mapping):
            if value:
                yield from _head(name, what, "counter" if name.endswith("_total") else "gauge")
            yield from (f"{name}{{{labels}}} {each:.15g}" for labels, each in value.items())
        else:
            yield from _head(name, what, "gauge")
            yield f"{name} {value:.15g}"


def _head(name: str, what: str, kind: str) -> tuple[str, str]:
    return f"# HELP {name} {what}", f"# TYPE {name} {kind}"
