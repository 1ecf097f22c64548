"""Turns, items and answers that a relayed conversation loses, and what it then still tells upstream."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.relay_talk import PATIENCE_S, TRANSCRIBED, RelayTalk
from tests.core.talk import one

from offhook.session.relay import limits

WORDS = "conversation.item.input_audio_transcription"

# -- turns that are deleted


def committed_by_hand(talk: RelayTalk) -> str:
    """Let the client commit a second of speech; return the item that it became."""
    talk.waits(1.0)
    told = talk.client("input_audio_buffer.commit")
    return str(one(told, "input_audio_buffer.committed")["item_id"])


BY_HAND = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}


def test_the_words_of_a_turn_that_was_deleted_are_not_those_of_the_next() -> None:
    """Symptom: a turn that a client deleted at once, a PIN for example, was told as the next one, and stayed there."""
    talk = RelayTalk(audio=BY_HAND)
    first = committed_by_hand(talk)
    talk.client("conversation.item.delete", item_id=first)
    assert not talk.asked("conversation.item.delete"), "its id there is not known yet"
    second = committed_by_hand(talk)
    for upstream_id in ("item_there_1", "item_there_2"):
        talk.says_upstream("input_audio_buffer.committed", item_id=upstream_id)
    (deleted,) = talk.asked("conversation.item.delete")
    assert deleted["item_id"] == "item_there_1"
    for upstream_id, words in (("item_there_1", "My PIN."), ("item_there_2", "Hello.")):
        members = {"item_id": upstream_id, "content_index": 0}
        talk.says_upstream(f"{WORDS}.delta", delta=words, **members)
        talk.says_upstream(f"{WORDS}.completed", transcript=words, **members)
    told = [event for event in talk.sent if event["type"] == f"{WORDS}.completed"]
    assert [(event["item_id"], event["transcript"]) for event in told] == [(second, "Hello.")]
    assert len(talk.asked("conversation.item.delete")) == 1
    assert not talk.relay.awaits_words


def test_words_that_come_after_their_turn_was_deleted_are_nobodys() -> None:
    talk = RelayTalk(audio=BY_HAND)
    first = committed_by_hand(talk)
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_1")
    talk.client("conversation.item.delete", item_id=first)
    second = committed_by_hand(talk)
    talk.says_upstream(f"{WORDS}.completed", item_id="item_there_1", content_index=0, transcript="My PIN.")
    talk.says_upstream(f"{WORDS}.completed", item_id="item_there_2", content_index=0, transcript="Hello.")
    told = [event for event in talk.sent if event["type"] == f"{WORDS}.completed"]
    assert [(event["item_id"], event["transcript"]) for event in told] == [(second, "Hello.")]
    assert [event["item_id"] for event in talk.asked("conversation.item.delete")] == ["item_there_1"]


def test_words_without_an_id_are_not_those_of_the_turn_after_a_deleted_one() -> None:
    talk = RelayTalk(audio=BY_HAND)
    first = committed_by_hand(talk)
    talk.client("conversation.item.delete", item_id=first)
    assert not talk.relay.awaits_words, "nobody waits for what is deleted"
    second = committed_by_hand(talk)
    for words in ("My PIN.", "Hello."):
        talk.says_upstream(f"{WORDS}.delta", delta=words)
        talk.says_upstream(f"{WORDS}.completed", transcript=words)
    told = [event for event in talk.sent if event["type"] == f"{WORDS}.completed"]
    assert [(event["item_id"], event["transcript"]) for event in told] == [(second, "Hello.")]


def test_a_turn_that_upstream_refused_leaves_no_place_for_an_id() -> None:
    talk = RelayTalk(audio=BY_HAND)
    first = committed_by_hand(talk)
    (commit,) = talk.asked("input_audio_buffer.commit")
    talk.client("conversation.item.delete", item_id=first)
    second = committed_by_hand(talk)
    talk.says_upstream("error", error={"code": "input_audio_buffer_commit_empty", "event_id": commit["event_id"]})
    told = talk.says_upstream(f"{WORDS}.completed", item_id="item_there_1", content_index=0, transcript="Hello.")
    assert one(told, f"{WORDS}.completed")["item_id"] == second
    assert not talk.asked("conversation.item.delete")


def test_turns_that_are_deleted_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_GIVEN_UP", 2)
    talk = RelayTalk(audio=BY_HAND)
    for _ in range(4):
        talk.client("conversation.item.delete", item_id=committed_by_hand(talk))
    last = committed_by_hand(talk)
    for words in ("Three.", "Four.", "Five."):
        talk.says_upstream(f"{WORDS}.completed", transcript=words)
    told = [event for event in talk.sent if event["type"] == f"{WORDS}.completed"]
    assert [(event["item_id"], event["transcript"]) for event in told] == [(last, "Five.")]


# -- responses over the turn that was just spoken


UNANSWERED = {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}


def asks_about(talk: RelayTalk, item_id: str) -> int:
    """Let the client ask beside the conversation what to make of an item; return how often upstream was asked."""
    given = [{"type": "item_reference", "id": item_id}]
    talk.client("response.create", response={"conversation": "none", "instructions": "Angry?", "input": given})
    return len(talk.asked("response.create"))


def test_a_response_over_the_turn_just_spoken_waits_for_its_id() -> None:
    """Symptom: a classifier that a client ran at the end of each turn was asked about nothing."""
    talk = RelayTalk(audio=UNANSWERED)
    item_id = one(talk.says(), "input_audio_buffer.committed")["item_id"]
    assert asks_about(talk, item_id) == 0, "upstream has not told its id yet"
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_1")
    (asked,) = talk.asked("response.create")
    assert asked["response"]["input"] == [{"type": "item_reference", "id": "item_there_1"}]
    assert asks_about(talk, item_id) == 2


@pytest.mark.parametrize("ending", ["refused", "deleted"])
def test_a_response_over_a_turn_that_is_no_more_does_not_wait_for_it(ending: str) -> None:
    talk = RelayTalk(audio=UNANSWERED)
    item_id = one(talk.says(), "input_audio_buffer.committed")["item_id"]
    assert asks_about(talk, item_id) == 0
    if ending == "deleted":
        talk.client("conversation.item.delete", item_id=item_id)
    else:
        (commit,) = talk.asked("input_audio_buffer.commit")
        talk.says_upstream("error", error={"code": "too_small", "event_id": commit["event_id"]})
    (asked,) = talk.asked("response.create")
    assert asked["response"]["input"] == []


def test_a_response_over_a_turn_that_only_the_lost_connection_had_gives_it_to_the_next() -> None:
    talk = RelayTalk(audio=UNANSWERED)
    item_id = one(talk.says(), "input_audio_buffer.committed")["item_id"]
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_1")
    talk.lose()
    talk.waits(0.1)
    assert asks_about(talk, item_id) == 0
    talk.connect()
    assert len(talk.asked("input_audio_buffer.commit")) == 2
    assert not talk.asked("response.create")
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_2")
    (asked,) = talk.asked("response.create")
    assert asked["response"]["input"] == [{"type": "item_reference", "id": "item_there_2"}]


def test_a_response_over_a_turn_whose_id_never_comes_fails_with_the_reason() -> None:
    talk = RelayTalk(audio=UNANSWERED)
    item_id = one(talk.says(), "input_audio_buffer.committed")["item_id"]
    asks_about(talk, item_id)
    (done,) = (event["response"] for event in talk.waits(PATIENCE_S + 1) if event["type"] == "response.done")
    assert done["status"] == "failed"
    assert "did not tell which of its items" in done["status_details"]["error"]["message"]
    assert not talk.asked("response.create")


# -- items that upstream refuses


class Shelf:
    """What an upstream has of a conversation that refuses pictures, and items behind those that it does not have."""

    def __init__(self, talk: RelayTalk, *ids: str) -> None:
        self.items = list(ids)
        self._talk = talk
        self._seen = len(talk.upstream)

    def serve(self) -> list[str]:
        """Take or refuse what was sent meanwhile, one error after the other; return what clients were told of it."""
        told: list[dict[str, Any]] = []
        sent, self._seen = self._talk.upstream[self._seen :], len(self._talk.upstream)
        for event in sent:
            if event["type"] != "conversation.item.create":
                continue
            before = event.get("previous_item_id")
            has_picture = any(part["type"] == "input_image" for part in event["item"]["content"])
            if has_picture or before not in (None, "root", *self.items):
                problem = {"code": "invalid_value", "message": "No.", "event_id": event["event_id"]}
                told += self._talk.says_upstream("error", error=problem)
            elif before is None:
                self.items.append(event["item"]["id"])
            else:
                place = 0 if before == "root" else self.items.index(before) + 1
                self.items.insert(place, event["item"]["id"])
        return [event["type"] for event in told]


def says_text(talk: RelayTalk, item_id: str, *, picture: bool = False) -> None:
    """Let the client add an item."""
    part = {"type": "input_text", "text": f"Fact {item_id}."}
    if picture:
        part = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    item = {"id": item_id, "type": "message", "role": "user", "content": [part]}
    talk.client("conversation.item.create", item=item)


@pytest.mark.parametrize("pictures", [{"a"}, {"b"}, {"a", "b"}, {"a", "c"}, {"d"}])
def test_an_item_that_a_new_connection_refuses_costs_none_of_those_behind_it(pictures: set[str]) -> None:
    """Symptom: after a reconnection the model knew nothing of what was said after a picture that it refuses."""
    talk = RelayTalk(audio=TRANSCRIBED)
    for item_id in "abcd":
        says_text(talk, item_id, picture=item_id in pictures)
    talk.says()
    talk.says_upstream("input_audio_buffer.committed", item_id="turn_there_1")
    talk.lose()
    talk.waits(1.0)
    shelf = Shelf(talk, "turn_there_2")
    talk.connect()
    talk.says_upstream("input_audio_buffer.committed", item_id="turn_there_2")
    told = []
    for number in range(1, 5):
        talk.client("response.create")
        told += shelf.serve()
        talk.answers_upstream(number=number)
    assert shelf.items == [each for each in "abcd" if each not in pictures] + ["turn_there_2"]
    assert told == ["error"] * len(pictures), "one is told of each, and of no other"


def test_an_item_that_is_refused_for_itself_is_not_sent_again_and_is_no_place() -> None:
    talk = RelayTalk()
    shelf = Shelf(talk)
    for item_id in "abc":
        says_text(talk, item_id, picture=item_id == "b")
    talk.client("response.create")
    assert shelf.serve() == ["error"]
    talk.answers_upstream()
    says = {"id": "x", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Between."}]}
    talk.client("conversation.item.create", item=says, previous_item_id="b")
    talk.client("response.create")
    assert shelf.serve() == []
    assert shelf.items == ["a", "x", "c"]
    assert len(talk.asked("conversation.item.create")) == 4
