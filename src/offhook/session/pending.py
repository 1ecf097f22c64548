"""Requests to the model that wait until what they tell it is known: what the caller said, and what the caller heard."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from offhook.session.outputs import Generate

if TYPE_CHECKING:
    from offhook.session.engine import Engine


@dataclass(slots=True)
class _Pending:
    """A request, and the items that it waits for."""

    request: Generate
    unsettled: set[str]


class PendingRequests:
    """Holds requests back while items of their context are unsettled, and lets them go with the items as they are then.

    There is one for each response in progress at most, so their number needs no limit of its own.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pending: dict[int, _Pending] = {}

    def hold(self, request: Generate, unsettled: Collection[str]) -> bool:
        """Keep a request back while it reads any of these items; say whether it is held."""
        waits_for = {str(item.id) for item in request.items if item.id in unsettled}
        if waits_for:
            self._pending[request.run] = _Pending(request, waits_for)
        return bool(waits_for)

    def release(self, run: int) -> None:
        """A response ended: its request is not needed any more."""
        self._pending.pop(run, None)

    def settle(self, item_id: str) -> None:
        """No more will be known of an item than the conversation says; one that was deleted is not read."""
        item = self._engine.conversation.get(item_id)
        for run, pending in list(self._pending.items()):
            if item_id not in pending.unsettled:
                continue
            pending.unsettled.discard(item_id)
            versions = ((item if each.id == item_id else each) for each in pending.request.items)
            pending.request = replace(pending.request, items=tuple(filter(None, versions)))
            if not pending.unsettled:
                del self._pending[run]
                self._engine.generate(pending.request)
