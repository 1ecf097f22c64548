"""Who decides about a call."""

from __future__ import annotations

import msgspec

from offhook.wire.session import SessionParams


class AnswerByWebhook(msgspec.Struct, frozen=True):
    """The application decides about every call."""


class AnswerAlways(msgspec.Struct, frozen=True):
    """Every call is accepted with this session, without asking anybody. ``body`` is its JSON as it was given."""

    params: SessionParams
    body: bytes


class AnswerReject(msgspec.Struct, frozen=True):
    """Every call is rejected with this SIP status."""

    status: int


class AnswerEcho(msgspec.Struct, frozen=True):
    """Every call hears itself, at once: a test of the line without any model."""


Answer = AnswerByWebhook | AnswerAlways | AnswerReject | AnswerEcho
