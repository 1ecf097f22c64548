"""Who did how much work for whom: the parts of a model tell it, the conversation they work for takes it down.

A backend serves all calls and knows none of them. The work for a conversation is done in a context of its own
(``contextvars``), which says who takes note; tasks that a part begins inherit it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass

from msgspec import UNSET

from offhook.model.settings import Role
from offhook.session.outputs import Generate
from offhook.session.usage import item_tokens, prefix_tokens, text_tokens
from offhook.wire.server_events import TokensUsage, Usage


@dataclass(frozen=True, slots=True)
class Used:
    """What one request took of a backend, named as in the settings. ``input_tokens`` are without the cached ones.

    ``audio_s``: speech that was heard or spoken. ``characters``: what a voice was given. ``estimated``: the backend did
    not count its tokens.
    """

    role: Role
    backend: str
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    audio_s: float = 0.0
    characters: int = 0
    estimated: bool = False


_meter: ContextVar[Callable[[Used], None] | None] = ContextVar("offhook_meter", default=None)


def metered(take: Callable[[Used], None]) -> Context:
    """Return a context in which ``take`` is told of all work of the models."""
    context = copy_context()
    context.run(_meter.set, take)
    return context


def tell(used: Used) -> None:
    """Tell whom the work was for, if anybody wants to know."""
    take = _meter.get()
    if take is not None:
        take(used)


def used_tokens(role: Role, backend: str, usage: Usage) -> Used:
    """Return what a backend counted itself."""
    given, made = usage.input_token_details, usage.output_token_details
    cached_audio = min(given.cached_tokens_details.audio_tokens, given.audio_tokens)
    audio = given.audio_tokens - cached_audio
    return Used(
        role,
        backend,
        input_tokens=max(usage.input_tokens - given.cached_tokens - audio, 0),
        cached_tokens=given.cached_tokens,
        output_tokens=max(usage.output_tokens - made.audio_tokens, 0),
        audio_input_tokens=audio,
        audio_output_tokens=made.audio_tokens,
    )


def used_to_hear(backend: str, seconds: float, usage: TokensUsage | None) -> Used:
    """Return what a transcript took, with the tokens that a recogniser counted, if it counts them."""
    if usage is None:
        return Used("stt", backend, audio_s=seconds)
    details = usage.input_token_details
    audio = 0 if details is UNSET else min(max(details.get("audio_tokens", 0), 0), usage.input_tokens)
    return Used(
        "stt",
        backend,
        input_tokens=usage.input_tokens - audio,
        output_tokens=usage.output_tokens,
        audio_input_tokens=audio,
        audio_s=seconds,
    )


def estimated_tokens(role: Role, backend: str, request: Generate, written: str) -> Used:
    """Return an estimate for a backend that did not count, or was stopped before it could."""
    read = prefix_tokens(request.instructions, request.tools)
    read += sum(item_tokens(item, 0).read(reads_words=True) for item in request.items)
    return Used(role, backend, input_tokens=read, output_tokens=text_tokens(written), estimated=True)
