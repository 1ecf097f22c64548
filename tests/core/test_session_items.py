"""Items that clients add, read, truncate and delete."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.talk import (
    Talk,
    error,
    interrupted_talk,
    one,
    said_by_assistant,
    types,
)

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.conversation import Conversation
from offhook.session.options import EngineOptions
from offhook.wire import limits
from offhook.wire.items import Message


def test_items_go_where_they_are_told() -> None:
    talk = Talk()

    def add(text: str, **members: Any) -> list[dict[str, Any]]:
        item = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}
        item.update(members.pop("item", {}))
        return talk.client("conversation.item.create", item=item, **members)

    first = one(add("b", item={"id": "b"}), "conversation.item.added")
    assert first["previous_item_id"] is None
    assert (
        one(add("a", previous_item_id="root", item={"id": "a"}), "conversation.item.added")["previous_item_id"] is None
    )
    assert one(add("ab", previous_item_id="a", item={"id": "ab"}), "conversation.item.added")["previous_item_id"] == "a"
    assert [item.id for item in talk.engine.conversation] == ["a", "ab", "b"]
    assert error(add("again", item={"id": "a"}))["param"] == "item.id"
    assert error(add("lost", previous_item_id="nowhere"))["param"] == "previous_item_id"


def test_clients_may_add_text_of_the_assistant_but_not_its_speech() -> None:
    def add(role: str, part: dict[str, str]) -> list[dict[str, Any]]:
        item = {"type": "message", "role": role, "content": [part]}
        return Talk().client("conversation.item.create", item=item)

    assert types(add("assistant", {"type": "output_text", "text": "Hello"}))[0] == "conversation.item.added"
    for role, part in (
        ("assistant", {"type": "output_audio", "transcript": "x"}),
        ("assistant", {"type": "input_text", "text": "x"}),
        ("system", {"type": "output_text", "text": "x"}),
        ("user", {"type": "output_text", "text": "x"}),
    ):
        assert error(add(role, part))["param"] == "item.content[0].type"


@pytest.mark.parametrize(
    ("type_", "code"),
    [
        ("conversation.item.retrieve", "item_retrieve_invalid_item_id"),
        ("conversation.item.delete", "item_delete_invalid_item_id"),
    ],
)
def test_items_that_do_not_exist_have_the_known_codes(type_: str, code: str) -> None:
    assert error(Talk().client(type_, item_id="item_x"))["code"] == code


def test_truncating_what_does_not_exist_or_beyond_the_end() -> None:
    talk = Talk()
    talk.says()
    user_id = talk.last(do.Hear).item_id
    answer = one(talk.answers("one two three four", 2000), "conversation.item.done")["item"]["id"]

    def truncate(item_id: str, end_ms: int) -> list[dict[str, Any]]:
        return talk.client("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)

    assert error(truncate("item_x", 1))["code"] == "item_truncate_invalid_item_id"
    assert error(truncate(user_id, 1))["code"] == "invalid_value"
    assert error(truncate(answer, 2001))["code"] == "invalid_value"
    assert types(truncate(answer, 1000)) == ["conversation.item.truncated"]
    item = one(talk.client("conversation.item.retrieve", item_id=answer), "conversation.item.retrieved")["item"]
    assert item["content"][0]["transcript"] == "one two"


def test_truncating_further_back_does_not_bring_words_back() -> None:
    talk = Talk()
    talk.says()
    answer = one(talk.answers("one two three four", 2000), "conversation.item.done")["item"]["id"]

    def truncate(end_ms: int) -> dict[str, Any]:
        events = talk.client("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=end_ms)
        return one(events, "conversation.item.truncated")

    assert truncate(1000)["audio_end_ms"] == 1000
    assert truncate(1500)["audio_end_ms"] == 1000, "the least cut holds"
    assert said_by_assistant(talk) == ["one two"]
    assert truncate(500)["audio_end_ms"] == 500
    assert said_by_assistant(talk) == ["one"]


def test_barge_in_does_not_bring_back_words_that_a_client_cut() -> None:
    talk, run = interrupted_talk()
    done = one(talk.happens(happened.GenerationFinished(run)), "conversation.item.done")
    talk.client("conversation.item.truncate", item_id=done["item"]["id"], content_index=0, audio_end_ms=1000)
    talk.happens(happened.VoiceStarted(talk.input_ms))
    events = talk.happens(happened.PlayoutStopped(run, 2000))
    assert one(events, "conversation.item.truncated")["audio_end_ms"] == 1000
    assert said_by_assistant(talk) == ["one two"]


def test_deleting_an_item_takes_it_from_the_context() -> None:
    talk = Talk()
    talk.says()
    item_id = talk.last(do.Hear).item_id
    talk.answers()
    assert types(talk.client("conversation.item.delete", item_id=item_id)) == ["conversation.item.deleted"]
    talk.client("response.create")
    assert item_id not in [item.id for item in talk.generate().items]


def test_the_audio_of_an_item_that_a_client_adds_is_not_echoed() -> None:
    """Audio is in no item but a retrieved one; what the model reads is the transcript."""
    talk = Talk()
    part = {"type": "input_audio", "audio": "AAAA", "transcript": "When do you open?"}
    item = {"type": "message", "role": "user", "content": [part, {"type": "input_text", "text": "Tell me."}]}
    events = talk.client("conversation.item.create", item=item)
    assert types(events) == ["conversation.item.added", "conversation.item.done"]
    for event in events:
        assert event["item"]["content"] == [
            {"type": "input_audio", "transcript": "When do you open?"},
            {"type": "input_text", "text": "Tell me."},
        ]


def test_an_item_that_exists_already_costs_a_full_conversation_nothing() -> None:
    conversation = Conversation("conv_1")
    for number in range(limits.MAX_CONVERSATION_ITEMS):
        conversation.append(Message(id=str(number), role="user", content=()))
    with pytest.raises(ApiProblem) as refused:
        conversation.append(Message(id="7", role="user", content=()))
    assert refused.value.param == "item.id"
    assert conversation.get("0") is not None
    conversation.append(Message(id="new", role="user", content=()))
    assert (conversation.get("0"), len(conversation)) == (None, limits.MAX_CONVERSATION_ITEMS)


def test_a_turn_that_had_to_make_room_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=True))
    talk.says()
    assert talk.count(do.Generate) == 0, "the words are not known yet"
    monkeypatch.setattr(limits, "MAX_CONVERSATION_ITEMS", len(talk.engine.conversation))
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "When do you open?"}]}
    talk.client("conversation.item.create", item=item)
    assert talk.count(do.Generate) == 1
    assert list(talk.generate().items) == []
    assert not talk.engine.transcripts.expected


def test_a_callers_item_is_retrieved_with_its_audio() -> None:
    talk = Talk()
    talk.says(1000)
    item_id = talk.last(do.Hear).item_id
    talk.client("conversation.item.retrieve", item_id=item_id)
    wanted = talk.last(do.SendWithAudio)
    assert (wanted.item.id, wanted.end_ms) == (item_id, 1500)


def test_nothing_is_kept_of_an_item_that_was_deleted_while_it_was_said() -> None:
    talk = Talk()
    talk.client("response.create")
    run = talk.generate().run
    item_id = one(talk.happens(happened.TextProduced(run, "Hello there.")), "conversation.item.added")["item"]["id"]
    talk.client("conversation.item.delete", item_id=item_id)
    talk.happens(happened.GenerationFinished(run))
    assert talk.engine.message_spoken(item_id) is None
