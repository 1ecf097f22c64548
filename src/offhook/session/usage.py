"""Counting tokens when a backend does not: the API's own rule for audio, an honest estimate for text.

Source: API guide, "Managing costs": one token for 100 ms of a user's audio and for 50 ms of the assistant's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from offhook.wire.items import (
    ContentPart,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    Message,
    OutputAudio,
    OutputText,
)
from offhook.wire.server_events import InputTokens, OutputTokens, RateLimit, Usage

USER_AUDIO_MS_PER_TOKEN = 100
ASSISTANT_AUDIO_MS_PER_TOKEN = 50
# English prose has about four characters a token with the vocabularies in use.
CHARS_PER_TOKEN = 4
# What a small image costs a vision model; nothing here looks at the pixels.
IMAGE_TOKENS = 85
WINDOW_S = 60.0


def text_tokens(text: str) -> int:
    """Return the estimated tokens of a text."""
    return -(-len(text) // CHARS_PER_TOKEN)


def _part_text(part: ContentPart) -> str:
    match part:
        case OutputAudio():
            return part.transcript if isinstance(part.transcript, str) else ""
        case InputText() | OutputText():
            return part.text
        case InputAudio() | InputImage():
            return ""  # counted as what they are


def _texts(item: Item) -> list[str]:
    match item:
        case Message():
            return list(map(_part_text, item.content))
        case FunctionCall():
            return [item.name + item.arguments]
        case FunctionCallOutput():
            return [item.output]
        case _:
            return []


def estimate_input(instructions: str, items: Iterable[Item], user_audio_ms: int) -> InputTokens:
    """Return the estimated input of a response."""
    texts, images = text_tokens(instructions), 0
    for item in items:
        texts += sum(map(text_tokens, _texts(item)))
        if isinstance(item, Message):
            images += sum(IMAGE_TOKENS for part in item.content if isinstance(part, InputImage))
    return InputTokens(text_tokens=texts, audio_tokens=user_audio_ms // USER_AUDIO_MS_PER_TOKEN, image_tokens=images)


def make_usage(given: InputTokens, produced_text: str, produced_ms: float) -> Usage:
    """Return the usage of a response from its estimated input and what came out."""
    output = OutputTokens(
        text_tokens=text_tokens(produced_text), audio_tokens=int(produced_ms // ASSISTANT_AUDIO_MS_PER_TOKEN)
    )
    input_tokens = given.text_tokens + given.audio_tokens + given.image_tokens
    output_tokens = output.text_tokens + output.audio_tokens
    return Usage(
        total_tokens=input_tokens + output_tokens,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        input_token_details=given,
        output_token_details=output,
    )


class TokenBudget:
    """Tokens of one session in the last minute, against a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0

    def spend(self, tokens: int, now: float) -> None:
        """Count the tokens of a response that ended now."""
        self._spent.append((now, tokens))
        self._sum += tokens
        self._forget(now)

    def exhausted(self, now: float) -> bool:
        """Say whether the next response has to wait."""
        self._forget(now)
        return self._sum >= self._limit

    def state(self, now: float) -> RateLimit:
        """Return what ``rate_limits.updated`` says."""
        self._forget(now)
        reset_s = self._spent[0][0] + WINDOW_S - now if self._spent else 0.0
        remaining = max(self._limit - self._sum, 0)
        return RateLimit(name="tokens", limit=self._limit, remaining=remaining, reset_seconds=round(reset_s, 3))

    def _forget(self, now: float) -> None:
        while self._spent and self._spent[0][0] <= now - WINDOW_S:
            self._sum -= self._spent.popleft()[1]
