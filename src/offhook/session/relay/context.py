"""What upstream has to be told of the conversation before it can answer."""

from __future__ import annotations

from typing import Any

from offhook.session.relay import limits
from offhook.session.relay.dialect import Dialect
from offhook.session.relay.finding import Finding
from offhook.session.relay.mirror import Mirror
from offhook.session.relay.phrase import item_members, spoken_members
from offhook.session.relay.post import ForItem, Post
from offhook.session.relay.turns import Turns
from offhook.wire.items import Item


class Context:
    """Sends the items that upstream does not have: turns as sound while nobody knows their words, the rest as words."""

    def __init__(self, dialect: Dialect, post: Post, mirror: Mirror, turns: Turns, finding: Finding) -> None:
        self._dialect = dialect
        self._post = post
        self._mirror = mirror
        self._turns = turns
        self._finding = finding

    def chosen(self, items: tuple[Item, ...]) -> list[dict[str, Any]]:
        """Return items as the input of a response of its own."""
        chosen = []
        for item in items:
            upstream_id = self._mirror.upstream_id(str(item.id))
            if upstream_id is not None:
                chosen.append({"type": "item_reference", "id": upstream_id})
            elif (members := item_members(item, self._mirror.call_ids, self._dialect)) is not None:
                chosen.append(members)
        return chosen

    def sync(self, items: tuple[Item, ...]) -> bool:
        """Send what upstream does not have of the conversation; say whether it answers that by itself."""
        ids = [str(item.id) for item in items]
        last_known = max((place for place, item_id in enumerate(ids) if item_id in self._mirror), default=-1)
        before: str | None = "root"
        for place, (item_id, item) in enumerate(zip(ids, items, strict=True)):
            if item_id in self._mirror:
                before = self._mirror.upstream_id(item_id)
                continue
            is_last = place == len(items) - 1
            kept = self._turns.kept(item_id)
            if kept is not None and self._finding.is_there:
                # Upstream would look for turns in what it is sent to commit.
                before = self._create_item(item_id, spoken_members(kept), before if place < last_known else None)
                continue
            if kept is not None and (is_last or not self._dialect.commit_answers):
                self._turns.commit(item_id)
                before = None
                if self._dialect.commit_answers:
                    return True
                continue
            members = item_members(item, self._mirror.call_ids, self._dialect)
            if members is not None:
                before = self._create_item(item_id, members, before if place < last_known else None)
            elif kept is not None:
                self._turns.fail(item_id, "server_error", "The model was given a later turn, and takes one at a time.")
        return False

    def _create_item(self, item_id: str, item: dict[str, Any], before: str | None) -> str | None:
        upstream_id: str | None = None
        if self._dialect.takes_item_ids:
            upstream_id = item_id if len(item_id) <= limits.MAX_ITEM_ID_CHARS else self._post.ids.item()
            item = {"id": upstream_id} | item
        place = {} if before is None else {"previous_item_id": before}
        self._post.send("conversation.item.create", ForItem(item_id), item=item, **place)
        self._mirror.put(item_id, upstream_id)
        return upstream_id
