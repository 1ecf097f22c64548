"""What the surroundings of a session are like."""

from __future__ import annotations

from dataclasses import dataclass, field

from offhook.session.settings import SessionDefaults


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a session cannot choose for itself.

    ``needs_transcripts``: the model reads words, so a response waits for those of the caller. ``hears_early``: those of
    a turn can be had in its pauses. ``tokens_per_minute``: responses beyond it fail with ``rate_limit_exceeded``.
    ``context_tokens`` and ``output_tokens``: what the model can read and write together, and what it may write.
    ``strict_models``: no others may be named; None is any. ``clips``: what may be heard while the caller waits.
    """

    needs_transcripts: bool = True
    hears_early: bool = False
    tokens_per_minute: int = 10_000_000
    context_tokens: int = 32_768
    output_tokens: int = 4_096
    strict_models: frozenset[str] | None = None
    clips: frozenset[str] = frozenset()
    defaults: SessionDefaults = field(default_factory=SessionDefaults)
