"""Counting tokens when a backend does not: the API's own rule for audio, an honest estimate for text.

Source: API guide, "Managing costs": one token for 100 ms of a user's audio and for 50 ms of the assistant's.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from offhook.wire.items import (
    ContentPart,
    FunctionCall,
    FunctionCallOutput,
    InputAudio,
    InputImage,
    InputText,
    Item,
    McpCall,
    Message,
    OutputAudio,
    OutputText,
)
from offhook.wire.server_events import InputTokens, OutputTokens, RateLimit, Usage
from offhook.wire.session import Tools

USER_AUDIO_MS_PER_TOKEN = 100
ASSISTANT_AUDIO_MS_PER_TOKEN = 50
# English prose has about four characters, which are bytes, a token with the vocabularies in use.
BYTES_PER_TOKEN = 4
# What a small image costs a vision model; nothing here looks at the pixels.
IMAGE_TOKENS = 85
WINDOW_S = 60.0


def text_tokens(text: str) -> int:
    """Return the estimated tokens of a text."""
    # Bytes rather than letters: vocabularies made for English have few tokens for what other scripts write.
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


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
        case McpCall(output=str(output)):
            return [item.name + item.arguments, output]
        case McpCall():
            return [item.name + item.arguments]
        case _:
            return []


def _images(item: Item) -> int:
    parts = item.content if isinstance(item, Message) else ()
    return sum(IMAGE_TOKENS for part in parts if isinstance(part, InputImage))


class ItemTokens(NamedTuple):
    """The estimated tokens of one item: its text, its images, its sound, and the words of its sound."""

    text: int
    images: int
    sound: int
    spoken: int

    def read(self, *, reads_words: bool) -> int:
        """Return what a model reads: one that ``reads_words`` has those of the sound, another one the sound itself."""
        return self.text + self.images + (self.spoken if reads_words else self.sound)


def item_tokens(item: Item, heard_ms: int) -> ItemTokens:
    """Return the estimated tokens of one item, of which there are ``heard_ms`` of the caller's sound."""
    spoken = 0
    if isinstance(item, Message):
        words = (part.transcript for part in item.content if isinstance(part, InputAudio))
        spoken = sum(text_tokens(text) for text in words if isinstance(text, str))
    sound = heard_ms // USER_AUDIO_MS_PER_TOKEN
    return ItemTokens(sum(map(text_tokens, _texts(item))), _images(item), sound, spoken)


def prefix_tokens(instructions: str, tools: Tools) -> int:
    """Return the estimated tokens of what stands before every conversation."""
    return text_tokens(instructions) + sum(text_tokens(msgspec.json.encode(tool).decode()) for tool in tools)


def make_usage(given: InputTokens, text_tokens: int, produced_ms: float) -> Usage:
    """Return the usage of a response from its estimated input and what came out."""
    output = OutputTokens(text_tokens=text_tokens, audio_tokens=int(produced_ms // ASSISTANT_AUDIO_MS_PER_TOKEN))
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
