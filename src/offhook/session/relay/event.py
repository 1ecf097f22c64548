"""Events from upstream, as far as they are read: lenient about what is not needed, strict about what is.

Source: API reference, "Realtime server events".
"""

from __future__ import annotations

from typing import Final

import msgspec

from offhook.errors import RemoteError
from offhook.session.relay import limits
from offhook.wire.items import LogProb
from offhook.wire.server_events import DurationUsage, TokensUsage, Usage

RUN_KEY: Final = "offhook_run"
_MAX_DIGITS: Final = 18

# What tidying up meets when it comes too late; some upstreams do not say which event they mean.
_TOO_LATE: Final = frozenset(
    (
        "response_cancel_not_active",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "item_already_truncated",
    )
)

# Codes of errors begin with what they are about; these are about no response.
_OF_OTHERS: Final = ("conversation_item_", "input_audio_", "item_", "session_")


class UpstreamError(RemoteError):
    """Upstream sent what is no event."""


class Item(msgspec.Struct, frozen=True):
    """An item of the conversation upstream."""

    id: str | None = None
    type: str | None = None
    role: str | None = None
    name: str | None = None
    call_id: str | None = None
    arguments: str | None = None


class Problem(msgspec.Struct, frozen=True):
    """What went wrong."""

    type: str | None = None
    code: str | int | None = None
    message: str | None = None
    event_id: str | None = None

    @property
    def is_too_late(self) -> bool:
        """Whether it only says that there was nothing left to tidy up."""
        return self.code in _TOO_LATE

    @property
    def is_about_others(self) -> bool:
        """Whether it is about an event of ours that is forgotten, or about no response at all."""
        return bool(self.event_id) or str(self.code or "").startswith(_OF_OTHERS)


class Details(msgspec.Struct, frozen=True):
    """Why a response did not complete."""

    type: str | None = None
    reason: str | None = None
    error: Problem | None = None


class Response(msgspec.Struct, frozen=True):
    """A response upstream. ``usage`` and ``metadata`` are read apart: what is wrong with them ends no response."""

    id: str | None = None
    status: str | None = None
    status_details: Details | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    metadata: msgspec.Raw = msgspec.Raw(b"null")


class UpstreamEvent(msgspec.Struct, frozen=True):
    """One event. Members that its type does not have are None."""

    type: str
    event_id: str | None = None
    item_id: str | None = None
    response_id: str | None = None
    output_index: int | None = None
    call_id: str | None = None
    name: str | None = None
    delta: str | None = None
    audio: str | None = None
    sample_rate_hz: int | None = None
    audio_start_ms: int | None = None
    audio_end_ms: int | None = None
    text: str | None = None
    transcript: str | None = None
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    arguments: str | None = None
    status: str | None = None
    item: Item | None = None
    response: Response | None = None
    error: Problem | str | None = None
    message: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")


_decoder = msgspec.json.Decoder(UpstreamEvent)
_usage_decoder = msgspec.json.Decoder(Usage | None)
_heard_decoder = msgspec.json.Decoder(TokensUsage | DurationUsage | None)
_metadata_decoder = msgspec.json.Decoder(dict[str, str] | None)
_logprobs_decoder = msgspec.json.Decoder(tuple[LogProb, ...] | None)


def decode_upstream(text: str | bytes) -> UpstreamEvent:
    """Read an event. Raises UpstreamError for what is none."""
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as failure:
        raise UpstreamError(f"not an event: {failure}") from None


def problem_of(event: UpstreamEvent) -> Problem:
    """Return what an ``error`` event says, in whatever shape."""
    match event.error:
        case Problem() as problem:
            return problem
        case str() as message:
            return Problem(message=message)
        case _:
            return Problem(message=event.message)


def logprobs_of(event: UpstreamEvent) -> tuple[LogProb, ...]:
    """Return how probable the words of a transcript are; nothing where that is not said, or cannot be read."""
    try:
        logprobs: tuple[LogProb, ...] | None = _logprobs_decoder.decode(event.logprobs)
    except (msgspec.MsgspecError, RecursionError):
        return ()
    return logprobs or ()


def metadata_for(run: int) -> dict[str, str]:
    """Return the metadata by which a response is known as the answer to a request."""
    return {RUN_KEY: str(run)}


def run_of(response: Response) -> int | None:
    """Return whose answer a response says it is; None where it says nothing, or nothing that can be read."""
    try:
        metadata: dict[str, str] | None = _metadata_decoder.decode(response.metadata)
    except (msgspec.MsgspecError, RecursionError):
        return None
    named = (metadata or {}).get(RUN_KEY, "")
    return int(named) if len(named) <= _MAX_DIGITS and named.isascii() and named.isdigit() else None


def usage_of(response: Response) -> Usage | None:
    """Return what a response has used; None where nothing, or nothing that can be read, is said."""
    try:
        usage: Usage | None = _usage_decoder.decode(response.usage)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return usage if _can_be(usage) else None


def usage_of_words(event: UpstreamEvent) -> TokensUsage | None:
    """Return the tokens that a transcript has used; None where none, or none that can be read, are told."""
    try:
        usage: TokensUsage | DurationUsage | None = _heard_decoder.decode(event.usage)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return usage if isinstance(usage, TokensUsage) and _can_be(usage) else None


def _can_be(usage: Usage | TokensUsage | None) -> bool:
    pending = [msgspec.to_builtins(usage)]
    for figure in pending:
        if isinstance(figure, dict):
            pending += figure.values()
        elif isinstance(figure, int) and not 0 <= figure <= limits.MAX_TOKENS:
            return False
    return True
