"""Turns that upstream finds: all that is heard goes there, and the conversation stays here."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.core.relay_talk import TRANSCRIBED, RelayTalk
from tests.core.talk import SocketTalk, one, types

from offhook.session import inputs as happened
from offhook.session.relay import limits
from offhook.session.relay.dialect import dialect_of

SEMANTIC = {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}}


class TurnsThere(RelayTalk):
    turns = "upstream"

    def hears(self, start_ms: int, end_ms: int, number: int = 1) -> list[dict[str, Any]]:
        """Let upstream find a turn of so much of what it was sent, in its order of events."""
        count = len(self.sent)
        item_id = f"item_heard_{number}"
        self.says_upstream("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=item_id)
        self.says_upstream("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id)
        self.says_upstream("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        return self.sent[count:]

    def detection(self) -> list[Any]:
        """What upstream was told of how to find turns, each time."""
        updates = [event["session"].get("audio", {}).get("input", {}) for event in self.asked("session.update")]
        return [update["turn_detection"] for update in updates if "turn_detection" in update]


def test_all_that_is_heard_goes_upstream_which_is_to_do_nothing_but_say_when_somebody_speaks() -> None:
    talk = TurnsThere(audio=SEMANTIC)
    assert not talk.finds_here
    assert talk.detection()[-1] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": False,
        "interrupt_response": False,
    }
    talk.waits(3.0)
    assert len(talk.audio_sent()) >= (3000 - limits.LISTEN_MS) * 8, "silence too"
    assert not talk.asked("input_audio_buffer.commit")


def test_a_turn_that_upstream_finds_is_told_at_our_positions_and_answered_without_a_second_commit() -> None:
    talk = TurnsThere(audio=TRANSCRIBED, is_online=False)
    talk.waits(10.0)
    talk.connect()
    talk.waits(4.0)
    told = talk.hears(500, 2500)
    assert one(told, "input_audio_buffer.speech_started")["audio_start_ms"] == 10_500
    assert one(told, "input_audio_buffer.speech_stopped")["audio_end_ms"] == 12_500
    assert types(told)[-1] == "response.created"
    assert not talk.asked("input_audio_buffer.commit")
    assert not talk.asked("conversation.item.create"), "it has the turn"
    assert len(talk.asked("response.create")) == 1
    user_id = one(told, "input_audio_buffer.committed")["item_id"]
    heard = "conversation.item.input_audio_transcription.completed"
    words = talk.says_upstream(heard, item_id="item_heard_1", content_index=0, transcript="When?")
    assert one(words, heard)["item_id"] == user_id
    assert one(talk.answers_upstream(), "response.done")["response"]["status"] == "completed"


def test_speech_that_upstream_finds_cuts_the_answer_at_what_was_played_here() -> None:
    talk = TurnsThere()
    talk.waits(4.0)
    talk.hears(500, 2500)
    talk.begins()
    talk.speaks("We open at nine.", 2000)
    talk.happens(happened.PlayoutStarted(talk.run))
    talk.waits(1.0)
    talk.says_upstream("input_audio_buffer.speech_started", audio_start_ms=4500, item_id="item_heard_2")
    talk.happens(happened.PlayoutStopped(talk.run, 700))
    (cut,) = talk.asked("conversation.item.truncate")
    assert cut["audio_end_ms"] == 700
    assert [each["response_id"] for each in talk.asked("response.cancel")] == ["resp_there_1"]


def test_a_turn_that_the_client_commits_is_committed_upstream_whole() -> None:
    talk = TurnsThere()
    talk.waits(2.05)
    sent = len(talk.audio_sent())
    talk.client("input_audio_buffer.commit")
    assert len(talk.audio_sent()) > sent
    assert len(talk.audio_sent()) == 2050 * 8
    assert talk.sent_types()[-2:] == ["input_audio_buffer.append", "input_audio_buffer.commit"]
    talk.waits(2.0)
    assert len(talk.audio_sent()) >= (4050 - limits.LISTEN_MS) * 8, "and what follows goes on after it, not twice"
    assert len(talk.audio_sent()) <= 4050 * 8


def test_what_upstream_takes_for_a_turn_and_was_none_here_is_deleted_there() -> None:
    talk = TurnsThere()
    talk.says_upstream("input_audio_buffer.committed", item_id="item_heard_0", previous_item_id=None)
    assert [each["item_id"] for each in talk.asked("conversation.item.delete")] == ["item_heard_0"]


def test_turns_are_found_here_while_there_is_no_connection_and_sent_as_sound_afterwards() -> None:
    talk = TurnsThere()
    talk.waits(1.0)
    talk.says_upstream("input_audio_buffer.speech_started", audio_start_ms=300, item_id="item_heard_1")
    told = talk.lose()
    assert talk.finds_here
    assert "input_audio_buffer.speech_stopped" in types(told), "nobody else would end it"
    talk.waits(0.1)
    talk.says(1000)
    talk.waits(0.1)
    talk.connect()
    assert not talk.finds_here
    assert talk.detection()[-1]["type"] == "server_vad"
    talk.waits(1.0)
    before = len(talk.asked("input_audio_buffer.append"))
    items = [event["item"] for event in talk.asked("conversation.item.create")]
    commits = talk.asked("input_audio_buffer.commit")
    assert len(items) + len(commits) == 2, "both turns, one way or the other"
    assert before
    began = talk.says_upstream("input_audio_buffer.speech_started", audio_start_ms=10, item_id="item_heard_2")
    assert one(began, "input_audio_buffer.speech_started")["audio_start_ms"] <= talk.input_ms


def test_a_turn_whose_words_nobody_knows_is_given_as_an_item_where_upstream_would_look_for_turns_in_it() -> None:
    talk = TurnsThere(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    assert not talk.relay.awaits_words
    talk.lose()
    talk.waits(0.1)
    talk.says(1000)
    talk.waits(0.1)
    talk.connect()
    assert not talk.finds_here
    appended = len(talk.audio_sent())
    talk.client("response.create")
    assert len(talk.audio_sent()) == appended
    (item,) = [event["item"] for event in talk.asked("conversation.item.create")]
    (part,) = item["content"]
    assert part["type"] == "input_audio"
    assert len(base64.b64decode(part["audio"])) >= 1300 * 8


WORDS = "conversation.item.input_audio_transcription"


PCMU = {"format": {"type": "audio/pcmu"}}
GIVEN = {"input": PCMU | TRANSCRIBED["input"]}


class OnSocket(TurnsThere, SocketTalk):
    """A client can add sound on a socket of its own only."""


class AtOffhook(OnSocket):
    dialect = "offhook"


def adds_sound(talk: TurnsThere) -> list[dict[str, Any]]:
    """Let the client add a second of sound, of which none may go where upstream looks for turns."""
    talk.appends(1000)
    talk.waits(1.0)
    appended = len(talk.asked("input_audio_buffer.append"))
    assert appended
    part = {"type": "input_audio", "audio": base64.b64encode(bytes([1]) * 8000).decode()}
    told = talk.client("conversation.item.create", item={"type": "message", "role": "user", "content": [part]})
    assert len(talk.asked("input_audio_buffer.append")) == appended
    assert not talk.asked("input_audio_buffer.commit")
    return told


def sound_of_items(talk: TurnsThere) -> list[bytes]:
    parts = [part for event in talk.asked("conversation.item.create") for part in event["item"]["content"]]
    return [base64.b64decode(part["audio"]) for part in parts if part["type"] == "input_audio"]


def test_sound_that_a_client_adds_is_an_item_there_and_no_turn_of_its_own() -> None:
    talk = OnSocket(audio=GIVEN)
    told = adds_sound(talk)
    assert one(told, f"{WORDS}.failed")["error"]["code"] == "not_supported", "nobody will tell its words"
    assert not talk.relay.awaits_words
    talk.client("response.create")
    (sound,) = sound_of_items(talk)
    assert len(sound) == 8000
    assert talk.sent_types()[-2:] == ["conversation.item.create", "response.create"]


def test_an_upstream_that_tells_the_words_of_items_is_given_sound_that_a_client_adds_at_once() -> None:
    """Symptom: without a response they neither came nor failed, and with one they failed."""
    talk = AtOffhook(audio=GIVEN)
    item_id = one(adds_sound(talk), "conversation.item.added")["item"]["id"]
    (sound,) = sound_of_items(talk)
    assert len(sound) == 8000
    upstream_id = talk.asked("conversation.item.create")[0]["item"]["id"]
    words = one(talk.says_upstream(f"{WORDS}.completed", item_id=upstream_id, transcript="When?"), f"{WORDS}.completed")
    assert (words["item_id"], words["transcript"]) == (item_id, "When?")
    talk.client("response.create")
    assert len(talk.asked("conversation.item.create")) == 1, "it has the item"


def test_sound_whose_words_nobody_wants_goes_with_the_response() -> None:
    talk = AtOffhook(audio={"input": PCMU})
    adds_sound(talk)
    assert not sound_of_items(talk)
    assert not talk.relay.awaits_words
    talk.client("response.create")
    assert len(sound_of_items(talk)) == 1


def test_the_words_of_sound_that_upstream_refuses_fail() -> None:
    talk = AtOffhook(audio=GIVEN)
    adds_sound(talk)
    (asked,) = talk.asked("conversation.item.create")
    refused = {"code": "invalid_value", "message": "No such sound.", "event_id": asked["event_id"]}
    told = talk.says_upstream("error", error=refused)
    assert one(told, f"{WORDS}.failed")["error"]["message"] == "No such sound."
    assert not talk.relay.awaits_words


def test_words_of_sound_that_a_client_added_come_from_the_next_connection() -> None:
    talk = AtOffhook(audio=GIVEN)
    item_id = one(adds_sound(talk), "conversation.item.added")["item"]["id"]
    talk.lose()
    talk.waits(0.1)
    assert talk.relay.awaits_words
    talk.connect()
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_0")
    told = talk.says_upstream(f"{WORDS}.completed", item_id="item_there_0", transcript="When?")
    assert one(told, f"{WORDS}.completed")["item_id"] == item_id


def test_who_speaks_when_the_connection_comes_is_heard_out_here() -> None:
    talk = TurnsThere(is_online=False)
    talk.waits(1.0)
    talk.happens(happened.VoiceStarted(800))
    talk.connect()
    talk.waits(1.0)
    assert talk.finds_here
    assert talk.detection() == [None]
    talk.happens(happened.VoiceStopped(1600, 2000))
    talk.waits(0.0)
    assert not talk.finds_here
    assert talk.detection()[-1]["type"] == "server_vad"


@pytest.mark.parametrize("wish", ["commit", "clear"])
def test_who_is_cut_in_two_by_the_client_when_the_connection_comes_is_heard_out_here(wish: str) -> None:
    talk = TurnsThere(is_online=False)
    talk.waits(1.0)
    talk.happens(happened.VoiceStarted(800))
    talk.connect()
    talk.waits(1.0)
    cut = talk.client(f"input_audio_buffer.{wish}")
    assert types(cut)[-1] == "input_audio_buffer.speech_started", "of the rest"
    talk.waits(1.0)
    assert talk.finds_here, "upstream has not heard how the rest began, and would not find its end"
    talk.happens(happened.VoiceStopped(2600, 3000))
    talk.waits(0.0)
    assert not talk.finds_here
    talk.waits(1.0)
    began = talk.says_upstream("input_audio_buffer.speech_started", audio_start_ms=10, item_id="item_heard_2")
    assert types(began)[0] == "input_audio_buffer.speech_started", "nothing keeps the next turn from being heard"


def test_a_way_to_find_turns_that_upstream_refuses_is_told_and_left_to_this_side() -> None:
    talk = TurnsThere()
    update = talk.asked("session.update")[-1]
    refused = {"code": "invalid_value", "message": "No such detector.", "event_id": update["event_id"]}
    (told,) = talk.says_upstream("error", error=refused)
    assert told["error"]["message"] == "No such detector."
    assert talk.finds_here
    talk.waits(0.5)
    assert types(talk.says(1000))[-1] == "response.created"
    assert len(talk.asked("input_audio_buffer.commit")) == 1


def test_a_session_without_turns_sends_nothing_by_itself() -> None:
    talk = TurnsThere(audio={"input": {"turn_detection": None}})
    assert talk.finds_here
    talk.waits(3.0)
    assert not talk.audio_sent()
    detection = {"type": "server_vad"}
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    assert not talk.finds_here
    detection = {"type": "server_vad", "silence_duration_ms": 900}
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    assert talk.detection()[-1]["silence_duration_ms"] == 900
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    assert talk.finds_here
    assert talk.detection()[-1] is None


def test_only_upstreams_that_can_leave_it_at_finding_are_asked_to() -> None:
    finds = {
        name for name in ("openai", "azure", "xai", "vllm-omni", "offhook") if dialect_of(name, "wss://x").finds_turns
    }
    assert finds == {"openai", "azure", "offhook"}
    assert not dialect_of("azure", "wss://x/openai/realtime?api-version=2025-04-01-preview").finds_turns
