"""What was said, on its way upstream: the items that it does not have, and the names of those that it has."""

from __future__ import annotations

from typing import Any

from offhook.session.relay import limits
from offhook.session.relay.dialect import Dialect
from offhook.session.relay.finding import Finding
from offhook.session.relay.mirror import ROOT, Mirror
from offhook.session.relay.phrase import item_members, spoken_members
from offhook.session.relay.post import ForItem, Post
from offhook.session.relay.turns import Turns
from offhook.wire.items import Item


class History:
    """Keeps the conversation upstream in step with the one here.

    Turns of which nobody knows the words go as sound: into the input buffer, and as items where upstream would look for
    turns in that (``finding``).
    """

    def __init__(self, dialect: Dialect, post: Post, mirror: Mirror, turns: Turns, finding: Finding) -> None:
        self._dialect = dialect
        self._post = post
        self._mirror = mirror
        self._turns = turns
        self._finding = finding

    def can_name(self, items: tuple[Item, ...]) -> bool:
        """Say whether upstream can be told which of its items these are; turns that it does not have are sent."""
        ids = [str(item.id) for item in items]
        if self._finding.is_there:
            for item_id in ids:
                if item_id not in self._mirror:
                    self._create_spoken(item_id, None)
        else:
            self._turns.commit_kept(ids)
        return not any(map(self._mirror.awaits_name, ids))

    def chosen(self, items: tuple[Item, ...]) -> list[dict[str, Any]]:
        """Return the items that a response is given instead of the conversation."""
        chosen = []
        for item in items:
            upstream_id = self._mirror.upstream_id(str(item.id))
            if upstream_id is not None:
                chosen.append({"type": "item_reference", "id": upstream_id})
            elif (members := item_members(item, self._mirror.call_ids, self._dialect)) is not None:
                chosen.append(members)
        return chosen

    def send(self, items: tuple[Item, ...]) -> bool:
        """Send what upstream does not have of the conversation; say whether it answers that by itself."""
        ids = [str(item.id) for item in items]
        last_known = max((place for place, item_id in enumerate(ids) if item_id in self._mirror), default=-1)
        before: str | None = ROOT
        for place, (item_id, item) in enumerate(zip(ids, items, strict=True)):
            if item_id in self._mirror:
                if not self._mirror.was_refused(item_id):
                    before = self._mirror.upstream_id(item_id)
                continue
            is_last = place == len(items) - 1
            if self._finding.is_there and self._turns.kept(item_id) is not None:
                before = self._create_spoken(item_id, before if place < last_known else None)
                continue
            if self._turns.kept(item_id) is not None and (is_last or not self._dialect.commit_answers):
                self._turns.commit(item_id)
                before = None
                if self._dialect.commit_answers:
                    return True
                continue
            members = item_members(item, self._mirror.call_ids, self._dialect)
            if members is not None:
                before = self._create_item(item_id, members, before if place < last_known else None)
            elif self._turns.kept(item_id) is not None:
                self._turns.fail(item_id, "server_error", "The model was given a later turn, and takes one at a time.")
        return False

    def give(self, item_id: str) -> None:
        """A client has added sound where upstream finds turns, and would find some in this: it goes there as an item.

        It goes with the next response at its place, or at once where somebody waits for its words, and upstream tells.
        """
        if self._turns.awaits(item_id) and self._dialect.transcribes_items:
            self._create_spoken(item_id, None)
        else:
            self._fail_words(item_id)

    def _fail_words(self, item_id: str) -> None:
        if not self._dialect.transcribes_items:
            message = "Upstream does not tell the words of sound that it is given whole."
            self._turns.fail(item_id, "not_supported", message)

    def _create_spoken(self, item_id: str, before: str | None) -> str | None:
        kept = self._turns.kept(item_id)
        if kept is None:
            return None
        self._fail_words(item_id)
        return self._create_item(item_id, spoken_members(kept), before)

    def _create_item(self, item_id: str, item: dict[str, Any], before: str | None) -> str | None:
        upstream_id: str | None = None
        if self._dialect.takes_item_ids:
            upstream_id = item_id if len(item_id) <= limits.MAX_ITEM_ID_CHARS else self._post.ids.item()
            item = {"id": upstream_id} | item
        place = {} if before is None else {"previous_item_id": before}
        self._post.send("conversation.item.create", ForItem(item_id, before), item=item, **place)
        self._mirror.put(item_id, upstream_id)
        return upstream_id

    def refuse(self, sent: ForItem) -> bool:
        """Upstream did not take an item; return whether it goes there again, with the next response.

        It does when it was to stand behind one that is not there: then only its place was refused.
        """
        if sent.before is not None and not self._mirror.is_place(sent.before):
            self._mirror.drop(sent.item_id)
            return True
        self._mirror.refuse_item(sent.item_id)
        return False
