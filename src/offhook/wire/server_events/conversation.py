"""Events about the items of the conversation."""

from __future__ import annotations

from offhook.wire.items import Item
from offhook.wire.server_events.common import ServerEventBase


class ConversationItemAdded(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.added"
):
    """An item entered the conversation."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemDone(ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.done"):
    """An item is final."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemRetrieved(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.retrieved"
):
    """An item with its audio."""

    item: Item


class ConversationItemTruncated(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.truncated"
):
    """The audio of an assistant item was cut."""

    item_id: str
    content_index: int
    audio_end_ms: int


class ConversationItemDeleted(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="conversation.item.deleted"
):
    """An item left the conversation."""

    item_id: str
