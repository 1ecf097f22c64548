"""What a call needs of the running server, in one place, given to every owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from offhook.audio.pcm import Samples
from offhook.call.machine import CallOptions
from offhook.host.answer import Answer, AnswerByWebhook
from offhook.host.cost import Prices
from offhook.host.preparing import Preparing
from offhook.mcp.policy import McpOptions
from offhook.model.interface import Backend
from offhook.model.turn_end import TurnEnds
from offhook.session.options import EngineOptions
from offhook.telemetry.log import FactLog
from offhook.telemetry.metrics import Metrics
from offhook.telemetry.trace import Span, SpanSink
from offhook.webhook.delivery import WebhookSender


class Journal(Protocol):
    """Keeps what happened in one call, so that it can be replayed."""

    def write(self, line: bytes) -> None:
        """Add a line."""
        ...

    def close(self) -> None:
        """The call is over."""
        ...


class Store(Protocol):
    """Keeps calls beyond their end."""

    def open_journal(self, call_id: str, first: bytes) -> Journal:
        """Begin the journal of a call with its first line."""
        ...

    def save(self, record: Mapping[str, Any]) -> None:
        """Keep what a call has come to."""
        ...

    def save_spans(self, call_id: str, spans: Sequence[Span]) -> None:
        """Keep the trace of a call."""
        ...

    def read_spans(self, call_id: str) -> list[Span]:
        """Return the trace of a call; waits for the disk."""
        ...


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How calls are answered. ``answer`` says who decides; ``model_names`` are those that the settings give."""

    call: CallOptions = field(default_factory=CallOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)
    answer: Answer = field(default_factory=AnswerByWebhook)
    retry_after_s: int = 5
    model_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Services:
    """Clocks, chance, and the drivers: ``clock`` is monotonic seconds, ``wall_s`` Unix time, ``seed`` fresh chance.

    ``clips`` are what callers may hear while they wait, at 8 kHz.
    """

    clock: Callable[[], float]
    wall_s: Callable[[], float]
    seed: Callable[[], bytes]
    backend: Backend
    webhooks: WebhookSender
    options: HostOptions
    log: FactLog
    clips: Mapping[str, Samples] = field(default_factory=dict)
    store: Store | None = None
    turn_ends: TurnEnds | None = None
    preparing: Preparing = field(default_factory=Preparing)
    mcp: McpOptions = field(default_factory=McpOptions)
    prices: Prices = field(default_factory=Prices)
    metrics: Metrics = field(default_factory=Metrics)
    span_sinks: Sequence[SpanSink] = ()
