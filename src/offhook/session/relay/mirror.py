"""Which items upstream has, by the ids that they have here and there."""

from __future__ import annotations

from collections import deque
from typing import Final

from offhook.wire.limits import MAX_CONVERSATION_ITEMS

ROOT: Final = "root"
"""The place before all items, as the id of the one that others stand behind (API reference, ``previous_item_id``)."""

# Ids upstream, those of items that were dropped among them.
_MAX_NAMES: Final = 2 * MAX_CONVERSATION_ITEMS


class Mirror:
    """The conversation upstream. A new connection begins with an empty one."""

    def __init__(self) -> None:
        self._upstream: dict[str, str | None] = {}
        self._here: dict[str, str] = {}
        self._committed: deque[str] = deque()
        self._refused: set[str] = set()
        self.call_ids: dict[str, str] = {}

    def clear(self) -> None:
        """Upstream has forgotten everything. Function calls go there with the ids that they have here from now on."""
        self._upstream.clear()
        self._here.clear()
        self._committed.clear()
        self._refused.clear()
        self.call_ids.clear()

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._upstream

    def upstream_id(self, item_id: str) -> str | None:
        """Return the id of an item there; None when it has none, or it is not known yet."""
        return self._upstream.get(item_id)

    def put(self, item_id: str, upstream_id: str | None) -> None:
        """An item is there."""
        self._upstream[item_id] = upstream_id
        if upstream_id is not None:
            self._name(item_id, upstream_id)
        if len(self._upstream) > MAX_CONVERSATION_ITEMS:
            self.refuse(next(iter(self._upstream)))

    def _name(self, item_id: str, upstream_id: str) -> None:
        self._here[upstream_id] = item_id
        if len(self._here) > _MAX_NAMES:
            del self._here[next(iter(self._here))]

    def drop(self, item_id: str) -> None:
        """An item is not there any more. Upstream may still speak of a turn that it was, so its place is kept."""
        self._upstream.pop(item_id, None)
        self._refused.discard(item_id)

    def refuse_item(self, item_id: str) -> None:
        """An item is not taken. It would be refused again, so it counts as sent."""
        if item_id in self._upstream:
            self._upstream[item_id] = None
            self._refused.add(item_id)

    def was_refused(self, item_id: str) -> bool:
        """Say whether an item counts as sent although upstream did not take it."""
        return item_id in self._refused

    def is_place(self, upstream_id: str) -> bool:
        """Say whether an item can stand behind the one with this id there."""
        item_id = self._here.get(upstream_id)
        return upstream_id == ROOT or self._upstream.get(item_id or "") == upstream_id

    def refuse(self, item_id: str) -> None:
        """A turn never was there."""
        self.drop(item_id)
        self.heard(item_id)

    # -- turns

    def commit(self, item_id: str) -> None:
        """A turn was committed; its id there will be told."""
        self.put(item_id, None)
        self._committed.append(item_id)
        if len(self._committed) > MAX_CONVERSATION_ITEMS:
            self._committed.popleft()

    def awaits_name(self, item_id: str) -> bool:
        """Say whether a turn is there whose id is not told yet."""
        return item_id in self._committed and item_id in self._upstream

    def heard(self, item_id: str) -> None:
        """The words of a turn are known: an id that is told from now on is that of a later one."""
        if item_id in self._committed:
            self._committed.remove(item_id)

    def turn(self, upstream_id: str) -> str | None:
        """Return the turn with an id there, be it told or seen for the first time; turns come in their order.

        It may be one that was dropped.
        """
        known = self._here.get(upstream_id)
        if known is None and self._committed:
            known = self._committed.popleft()
            if known in self._upstream:
                self.put(known, upstream_id)
            else:
                self._name(known, upstream_id)
        return known

    def knows(self, upstream_id: str) -> bool:
        """Say whether an id there was told or seen before."""
        return upstream_id in self._here
