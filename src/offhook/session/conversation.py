"""The items of a conversation in their order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import UNSET

from offhook.errors import ApiProblem
from offhook.wire import limits
from offhook.wire.items import FunctionCall, Item

ROOT = "root"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of input audio, in milliseconds since the session began."""

    start_ms: int
    end_ms: int


class Conversation:
    """Items by id and in order; every item in it has an id."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self._order: list[str] = []
        self._items: dict[str, Item] = {}
        self.audio: dict[str, Span] = {}
        self._evicted: list[str] = []

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Item]:
        return (self._items[item_id] for item_id in self._order)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._items

    def get(self, item_id: str) -> Item | None:
        """Return the item with this id."""
        return self._items.get(item_id)

    @property
    def last_id(self) -> str | None:
        """The id of the last item."""
        return self._order[-1] if self._order else None

    def previous_id(self, item_id: str) -> str | None:
        """Return the id of the item before this one, None for the first."""
        if self._order and self._order[-1] == item_id:
            return self._order[-2] if len(self._order) > 1 else None
        index = self._order.index(item_id)
        return self._order[index - 1] if index else None

    def insert(self, item: Item, after: str | None = None) -> str | None:
        """Put an item after another one (``root`` is before all, None is last); return its predecessor's id.

        Raises ApiProblem when the conversation is full, the id is taken, or ``after`` does not exist.
        """
        item_id = self._new_id(item)
        if len(self._order) >= limits.MAX_CONVERSATION_ITEMS:
            raise ApiProblem(
                400,
                "invalid_value",
                f"Error adding item: the conversation holds {limits.MAX_CONVERSATION_ITEMS} items, which is the limit.",
            )
        if after is None:
            position = len(self._order)
        elif after == ROOT:
            position = 0
        elif after in self._items:
            position = self._order.index(after) + 1
        else:
            raise ApiProblem(
                400,
                "invalid_value",
                f"Error adding item: the previous item with id '{after}' does not exist.",
                param="previous_item_id",
            )
        self._order.insert(position, item_id)
        self._items[item_id] = item
        return self._order[position - 1] if position else None

    def append(self, item: Item) -> str | None:
        """Put an item last; a full conversation forgets its oldest item for it.

        Raises ApiProblem when the id is taken.
        """
        self._new_id(item)
        self.make_room()
        return self.insert(item)

    def make_room(self) -> None:
        """Let a full conversation forget its oldest item, so that another can be put anywhere."""
        while len(self._order) >= limits.MAX_CONVERSATION_ITEMS:
            self._evicted.append(self._order[0])
            self.remove(self._order[0])

    def take_evicted(self) -> list[str]:
        """Return the ids of the items that had to make room since this was asked last."""
        evicted = self._evicted
        if evicted:
            self._evicted = []
        return evicted

    def _new_id(self, item: Item) -> str:
        if not isinstance(item.id, str) or item.id in self._items:
            raise ApiProblem(
                400, "invalid_value", f"Error adding item: an item with id '{item.id}' exists already.", param="item.id"
            )
        return item.id

    def replace(self, item: Item) -> None:
        """Put the new version of an item in the place of the old one; one that was deleted meanwhile stays away."""
        if isinstance(item.id, str) and item.id in self._items:
            self._items[item.id] = item

    def remove(self, item_id: str) -> None:
        """Take an item out."""
        del self._items[item_id]
        self._order.remove(item_id)
        self.audio.pop(item_id, None)

    def heard_ms(self, item: Item) -> int:
        """Return how long the caller's sound of an item is."""
        span = self.audio.get(str(item.id))
        return span.end_ms - span.start_ms if span is not None else 0

    def has_tool_call(self, call_id: str) -> bool:
        """Say whether the model called a function under this ``call_id``."""
        return any(
            isinstance(item, FunctionCall) and item.call_id is not UNSET and item.call_id == call_id
            for item in reversed(self._items.values())
        )
