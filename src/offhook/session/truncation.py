"""How much of a conversation the model reads: the oldest is left out when it does not fit.

What was left out stays in the conversation for clients, and stays left out while the whole is too much: a context that
lost something at every turn would never be found in a model's cache. When clients have deleted so much, or made room
for so much, that the whole fits, nothing is left out. Instructions and tools are never left out, and a function call
and its output go together. Source: API reference, ``truncation`` of the realtime session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from offhook.session.outputs import Generate
from offhook.session.response import Response
from offhook.session.usage import ItemTokens, item_tokens, make_usage, prefix_tokens
from offhook.wire.items import FunctionCall, FunctionCallOutput, Item
from offhook.wire.limits import MAX_CONVERSATION_ITEMS
from offhook.wire.server_events import InputTokens, Usage
from offhook.wire.session import RetentionRatio, Truncation

# What the marks around messages take. With it a window of 32,768 tokens and an output of 4,096 leave the 28,224 that
# the API's own text names.
RESERVED_TOKENS = 448
# A backend that counts in another way is believed within these bounds; beyond them its figure is about something else.
MIN_SCALE, MAX_SCALE = 0.25, 4.0
# In a short request the marks around messages are most of what a backend counts: it says nothing about long ones.
LEAST_TOKENS_TO_LEARN = 1_000
# An estimate may be off by half, so a limit that the backend itself counts is enforced here only far beyond it.
BACKSTOP = 2


def input_limit(context_tokens: int, output_tokens: int) -> int:
    """Return how many tokens of input fit into a window of ``context_tokens``."""
    return max(context_tokens - output_tokens - RESERVED_TOKENS, 0)


@dataclass(frozen=True, slots=True)
class TooLong:
    """The input does not fit: ``tokens`` of it, where ``limit`` are possible."""

    tokens: int
    limit: int

    @property
    def message(self) -> str:
        """Say so."""
        return f"The input of {self.tokens} tokens exceeds the model's input limit of {self.limit} tokens."


def fit(
    items: Sequence[Item],
    tokens: Callable[[Item], int],
    prefix: int,
    limit: int,
    truncation: Truncation,
    left_out: Collection[str] = (),
) -> tuple[Item, ...] | TooLong:
    """Return the items that the model is to read, without the oldest ones where all are too many.

    ``prefix`` and ``tokens`` say what the instructions and each item take of ``limit``. Of too many items, those that
    were ``left_out`` before are the first that are not read. The newest item is always read; where even that does not
    fit, or nothing may be left out, the answer is ``TooLong``.
    """
    room = limit - prefix
    keep = 1.0
    if isinstance(truncation, RetentionRatio):
        keep = truncation.retention_ratio
        limits = truncation.token_limits
        if limits is not UNSET and limits.post_instructions is not UNSET:
            room = min(room, limits.post_instructions)
    taken = [tokens(item) for item in items]
    total = sum(taken)
    if total <= room:
        return tuple(items)
    if truncation == "disabled":
        return TooLong(prefix + total, limit)
    if left_out:
        read = [item for item in items if item.id not in left_out]
        return fit(read, tokens, prefix, limit, truncation)
    dropped: set[int] = set()
    groups = _groups(items)
    target = int(room * keep)
    for group in groups[:-1]:
        if total <= target:
            break
        dropped.update(group)
        total -= sum(taken[index] for index in group)
    if prefix + total > limit:
        return TooLong(prefix + total, limit)
    return tuple(item for index, item in enumerate(items) if index not in dropped)


def _groups(items: Sequence[Item]) -> list[list[int]]:
    """Return the places of the items that leave together, the oldest first; the newest item's group is the last."""
    groups: list[list[int]] = []
    of_call: dict[str, list[int]] = {}
    for index, item in enumerate(items):
        call_id = item.call_id if isinstance(item, FunctionCall | FunctionCallOutput) else UNSET
        group = of_call.get(call_id) if call_id is not UNSET else None
        if group is None:
            group = []
            groups.append(group)
            if call_id is not UNSET:
                of_call[call_id] = group
        group.append(index)
    newest = len(items) - 1
    groups.sort(key=lambda group: newest in group)
    return groups


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request in progress. ``whole``: it is about the conversation as it stands.

    ``tokens`` is what it takes by our own estimate, whatever was learnt from the backend; none before it was made.
    """

    request: Generate
    truncation: Truncation
    whole: bool
    tokens: int = 0

    @property
    def remembers(self) -> bool:
        """Whether later ones leave out what it leaves out, and nothing else.

        A request beside the conversation has instructions of its own length, and says nothing about the next turn.
        """
        return self.whole and not self.request.aside


class ContextWindow:
    """What the model of one session can read and write, and what requests have taken of it.

    ``reads_words``: the model is given the transcript of what the caller said, not its sound. ``heard_ms`` says how
    long the sound of an item is.
    """

    def __init__(
        self, *, context_tokens: int, output_tokens: int, reads_words: bool, heard_ms: Callable[[Item], int]
    ) -> None:
        self._limit = input_limit(context_tokens, output_tokens)
        self._output_tokens = output_tokens
        self._reads_words = reads_words
        self._heard_ms = heard_ms
        self._left_out: set[str] = set()
        self._rule: Truncation = "auto"
        self._asked: dict[int, _Asked] = {}
        self._counted: dict[str | UnsetType, tuple[Item, ItemTokens]] = {}
        self._scale = 1.0

    @property
    def left_out(self) -> Collection[str]:
        """The items of the conversation that the model reads no more."""
        return self._left_out

    def forget(self, item_id: str) -> None:
        """An item is not in the conversation any more."""
        self._left_out.discard(item_id)
        self._counted.pop(item_id, None)

    def ask(self, request: Generate, truncation: Truncation, *, whole: bool) -> None:
        """Take note of a request that will be made; ``whole``: it is about the conversation as it stands.

        A turn under another rule than before begins anew.
        """
        asked = self._asked[request.run] = _Asked(request, truncation, whole)
        if asked.remembers and truncation != self._rule:
            self._rule = truncation
            self._left_out.clear()

    def fit(self, request: Generate) -> Generate | TooLong:
        """Return the request with the items that fit, now that it is known what they say."""
        asked = self._asked[request.run]
        prefix = prefix_tokens(request.instructions, request.tools)
        fitted = fit(
            request.items,
            lambda item: self._scaled(self._tokens(item)),
            self._scaled(prefix),
            self._limit,
            asked.truncation,
            self._left_out if asked.whole and asked.truncation == self._rule else (),
        )
        if isinstance(fitted, TooLong):
            return fitted
        if asked.remembers:
            kept = {item.id for item in fitted}
            self._left_out = {str(item.id) for item in request.items if item.id not in kept}
        request = replace(request, items=fitted)
        tokens = prefix + sum(map(self._tokens, fitted))
        self._asked[request.run] = _Asked(request, asked.truncation, asked.whole, tokens)
        return request

    def _tokens(self, item: Item) -> int:
        return self._count(item).read(reads_words=self._reads_words)

    def _count(self, item: Item) -> ItemTokens:
        """Return the tokens of an item; a long conversation is not counted anew for every response."""
        known = self._counted.get(item.id)
        if known is not None and known[0] is item:
            return known[1]
        counted = item_tokens(item, self._heard_ms(item))
        if len(self._counted) >= MAX_CONVERSATION_ITEMS:
            self._counted.clear()
        self._counted[item.id] = (item, counted)
        return counted

    def _scaled(self, tokens: int) -> int:
        return tokens if self._scale == 1.0 else round(tokens * self._scale)

    def overruns(self, response: Response) -> bool:
        """Say whether a response is longer than any backend should have let it become."""
        limit = response.settings.max_output_tokens
        most = self._output_tokens if limit == "inf" else min(limit * BACKSTOP, self._output_tokens)
        return response.produced_tokens > most

    def close(self, response: Response, given: Usage | None) -> Usage:
        """Return what a response has taken: as the backend counted it, else as it is estimated."""
        asked = self._asked.pop(response.run)
        if given is not None:
            if given.input_tokens and asked.whole and asked.tokens >= LEAST_TOKENS_TO_LEARN:
                self._scale = min(max(given.input_tokens / asked.tokens, MIN_SCALE), MAX_SCALE)
            return given
        if not asked.tokens:
            return make_usage(InputTokens(), response.produced_tokens, response.produced_ms)
        counted = list(map(self._count, asked.request.items))
        estimate = InputTokens(
            text_tokens=prefix_tokens(asked.request.instructions, asked.request.tools) + sum(c.text for c in counted),
            audio_tokens=sum(c.sound for c in counted),
            image_tokens=sum(c.images for c in counted),
        )
        return make_usage(estimate, response.produced_tokens, response.produced_ms)
