"""Who decides about a call."""

from __future__ import annotations

from dataclasses import dataclass

from offhook.wire.session import SessionParams


@dataclass(frozen=True, slots=True)
class AnswerByWebhook:
    """The application decides about every call."""


@dataclass(frozen=True, slots=True)
class AnswerAlways:
    """Every call is accepted with this session, without asking anybody. ``body`` is its JSON as it was given."""

    params: SessionParams
    body: bytes


@dataclass(frozen=True, slots=True)
class AnswerReject:
    """Every call is rejected with this SIP status."""

    status: int


@dataclass(frozen=True, slots=True)
class AnswerEcho:
    """Every call hears itself, at once: a test of the line without any model."""


Answer = AnswerByWebhook | AnswerAlways | AnswerReject | AnswerEcho
