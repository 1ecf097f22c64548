"""Who has the floor: what the application wants waits for its turn, whatever the server does by itself meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from offhook.app.address import party
from offhook.app.facts import read_fact
from offhook.app.floor import (
    BUSY,
    MARK,
    MAX_AUDIBLE,
    Floor,
    RequestFailed,
    RunFunctions,
    SendEvent,
    Sentence,
    SentenceSettled,
)

SPOKEN = {"type": "message", "content": [{"type": "output_audio", "transcript": "Hello."}]}
CALLED = {"type": "function_call", "name": "book", "arguments": "{}", "call_id": "c1"}


class Talk:
    """A floor, and a server of which only the events are known."""

    def __init__(self, **options: Any) -> None:
        self.floor = Floor("app", **options)
        self.actions: list[Any] = []

    def hears(self, type_: str, **members: Any) -> list[Any]:
        fact = read_fact(msgspec.json.encode({"type": type_, "event_id": "e", **members}))
        assert fact is not None
        return self.does(self.floor.take(fact))

    def does(self, actions: list[Any]) -> list[Any]:
        self.actions += actions
        return actions

    def says(self, number: int = 1, text: str = "Hello.") -> list[Any]:
        return self.does(self.floor.say(Sentence(number, text, verbatim=True)))

    def answers(self, *call_ids: str) -> list[Any]:
        return self.does(self.floor.answer(call_ids))

    def begins(self, response_id: str, mark: str | None = None, **members: Any) -> list[Any]:
        metadata = None if mark is None else {MARK: mark}
        response = {"id": response_id, "conversation_id": "conv_1", "metadata": metadata, **members}
        return self.hears("response.created", response=response)

    def ends(self, response_id: str, *output: Any, status: str = "completed", **members: Any) -> list[Any]:
        response = {"id": response_id, "conversation_id": "conv_1", "status": status, "output": output, **members}
        return self.hears("response.done", response=response)

    def plays(self, what: str, response_id: str) -> list[Any]:
        return self.hears(f"output_audio_buffer.{what}", response_id=response_id)

    def refuses(self, code: str, event_id: str | None) -> list[Any]:
        return self.hears("error", error={"type": "x", "code": code, "message": "No.", "event_id": event_id})

    @property
    def asked(self) -> list[str]:
        """The responses that were asked for: "say" or "answer"."""
        sent = [each.event["response"] for each in self.actions if isinstance(each, SendEvent)]
        return ["say" if "input" in each else "answer" for each in sent]

    @property
    def settled(self) -> list[tuple[int, bool]]:
        return [(each.number, each.heard) for each in self.actions if isinstance(each, SentenceSettled)]


def test_a_sentence_is_heard_when_it_was_played() -> None:
    talk = Talk()
    assert talk.says() == [
        SendEvent(
            {
                "type": "response.create",
                "event_id": "app_1",
                "response": {"metadata": {MARK: "app_1"}, "offhook": {"say": "Hello."}, "input": []},
            }
        )
    ]
    talk.begins("r1", "app_1")
    talk.ends("r1", SPOKEN)
    talk.plays("started", "r1")
    assert talk.settled == []
    assert not talk.floor.quiet
    talk.plays("stopped", "r1")
    assert talk.settled == [(1, True)]
    assert talk.floor.quiet


def test_a_sentence_may_be_played_before_its_response_is_told_to_be_done() -> None:
    talk = Talk()
    talk.says()
    talk.begins("r1", "app_1")
    talk.plays("started", "r1")
    talk.plays("stopped", "r1")
    talk.ends("r1", SPOKEN)
    assert talk.settled == [(1, True)]
    assert talk.floor.quiet


@pytest.mark.parametrize("cleared_first", [True, False])
def test_a_sentence_that_is_cut_off_was_not_heard(cleared_first: bool) -> None:
    talk = Talk()
    talk.says()
    talk.begins("r1", "app_1")
    talk.plays("started", "r1")
    if cleared_first:
        talk.plays("cleared", "r1")
    talk.ends("r1", SPOKEN, status="cancelled")
    if not cleared_first:
        talk.plays("cleared", "r1")
    assert talk.settled == [(1, False)]
    assert talk.floor.quiet


def test_a_sentence_that_is_written_is_settled_with_its_response() -> None:
    talk = Talk()
    talk.says()
    talk.begins("r1", "app_1")
    talk.ends("r1", {"type": "message", "content": [{"type": "output_text", "text": "Hello."}]})
    assert talk.settled == [(1, True)]


def test_another_server_is_told_to_read_it_out() -> None:
    floor = Floor("app")
    (send,) = floor.say(Sentence(1, 'Say "hello".', verbatim=False))
    assert isinstance(send, SendEvent)
    response = send.event["response"]
    assert "offhook" not in response
    assert response["instructions"].endswith('"Say \\"hello\\"."')
    assert response["input"][0]["content"] == [{"type": "input_text", "text": 'Say "hello".'}]


def test_wishes_wait_for_the_response_under_way() -> None:
    talk = Talk()
    talk.begins("r1")
    talk.says(1)
    talk.says(2)
    talk.answers()
    assert talk.asked == []
    talk.ends("r1")
    assert talk.asked == ["say"]
    talk.begins("r2", "app_1")
    talk.ends("r2")
    talk.begins("r3", "app_2")
    talk.ends("r3")
    assert talk.asked == ["say", "say", "answer"]


def test_the_server_may_be_faster_and_refuses_ours_then() -> None:
    talk = Talk()
    talk.says()
    talk.begins("r1")
    talk.refuses(BUSY, "app_1")
    assert talk.asked == ["say"]
    talk.ends("r1")
    assert talk.asked == ["say", "say"]
    talk.begins("r2", "app_2")
    talk.ends("r2")
    assert talk.settled == [(1, True)]


def test_a_refusal_may_come_before_the_response_that_is_its_reason_is_known() -> None:
    talk = Talk()
    talk.says()
    talk.refuses(BUSY, None)
    talk.ends("r0")
    assert talk.asked == ["say", "say"]


def test_a_server_that_shows_no_metadata_is_not_asked_twice() -> None:
    talk = Talk()
    talk.says()
    talk.begins("r1")
    talk.ends("r1", SPOKEN)
    talk.plays("stopped", "r1")
    assert (talk.asked, talk.settled) == (["say"], [(1, True)])


def test_a_response_of_another_application_is_not_taken_for_ours() -> None:
    talk = Talk()
    talk.says()
    talk.begins("r1", "other_1")
    talk.ends("r1")
    assert (talk.asked, talk.settled) == (["say", "say"], [])


def test_a_sentence_that_the_server_refuses_is_given_up_and_the_next_goes_on() -> None:
    talk = Talk()
    talk.says(1)
    talk.says(2)
    assert talk.refuses("invalid_value", "app_1")[:2] == [
        RequestFailed("invalid_value", "No."),
        SentenceSettled(1, heard=False),
    ]
    assert talk.asked == ["say", "say"]


def test_the_refusal_of_something_else_changes_nothing() -> None:
    talk = Talk()
    talk.says()
    assert talk.refuses("invalid_value", "mine") == []
    assert talk.refuses("item_delete_invalid_item_id", None) == []
    talk.begins("r1", "app_1")
    assert talk.refuses(BUSY, "mine") == []


# -- functions


def test_functions_run_when_their_response_is_complete() -> None:
    talk = Talk()
    talk.begins("r1")
    (run,) = talk.ends("r1", SPOKEN, CALLED)
    assert isinstance(run, RunFunctions)
    assert [each.call_id for each in run.calls] == ["c1"]
    assert talk.asked == []
    talk.answers("c1")
    assert talk.asked == ["answer"]


@pytest.mark.parametrize("members", [{"status": "cancelled"}, {"status": "incomplete"}, {"conversation_id": None}])
def test_functions_of_a_response_that_was_cut_or_stays_outside_do_not_run(members: dict[str, Any]) -> None:
    talk = Talk()
    talk.begins("r1", **({"conversation_id": None} if "conversation_id" in members else {}))
    assert talk.ends("r1", CALLED, **members) == []


def test_nobody_talks_over_the_caller() -> None:
    talk = Talk()
    talk.hears("input_audio_buffer.speech_started")
    talk.answers("c1")
    talk.hears("conversation.item.added", item={"type": "function_call_output", "call_id": "c1"})
    talk.hears("input_audio_buffer.speech_stopped")
    talk.begins("r1")
    talk.ends("r1")
    assert talk.asked == [], "the response to the caller knew the output"


def test_a_response_that_began_before_the_output_was_there_is_not_the_answer() -> None:
    talk = Talk()
    talk.hears("input_audio_buffer.speech_started")
    talk.answers("c1")
    talk.hears("input_audio_buffer.speech_stopped")
    talk.begins("r1")
    talk.hears("conversation.item.added", item={"type": "function_call_output", "call_id": "c1"})
    talk.ends("r1")
    assert talk.asked == ["answer"]


@pytest.mark.parametrize("detection", [None, {"type": "server_vad", "create_response": False}])
def test_where_the_server_takes_no_turns_the_answer_does_not_wait_for_one(detection: Any) -> None:
    talk = Talk()
    talk.hears("session.updated", session={"audio": {"input": {"turn_detection": detection}}})
    talk.hears("input_audio_buffer.speech_started")
    talk.answers("c1")
    assert talk.asked == ["answer"]
    talk.hears("session.updated", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
    assert talk.floor.takes_turns
    talk.hears("session.updated", session={})
    assert talk.floor.takes_turns


def test_what_was_said_meanwhile_is_no_answer() -> None:
    talk = Talk()
    talk.says()
    talk.answers("c1")
    talk.begins("r1", "app_1")
    talk.ends("r1")
    assert talk.asked == ["say", "answer"]


# -- a lost connection


def test_what_was_under_way_is_lost_with_the_connection_and_what_was_not_goes_on() -> None:
    talk = Talk()
    talk.says(1)
    talk.says(2)
    talk.begins("r1", "app_1")
    assert talk.does(talk.floor.lose()) == [SentenceSettled(1, heard=False)]
    talk.does(talk.floor.resume())
    assert talk.asked == ["say", "say"]
    talk.begins("r2", "app_2")
    talk.ends("r2", SPOKEN)
    assert talk.does(talk.floor.lose()) == [SentenceSettled(2, heard=False)]
    assert talk.floor.quiet


def test_an_answer_that_was_asked_for_is_asked_for_again() -> None:
    talk = Talk()
    talk.answers("c1")
    talk.floor.lose()
    talk.does(talk.floor.resume())
    assert talk.asked == ["answer", "answer"]


def test_a_sentence_that_nobody_waits_for_any_more_is_not_begun() -> None:
    talk = Talk()
    talk.begins("r1")
    talk.says()
    talk.floor.withdraw(1)
    talk.ends("r1")
    assert talk.asked == []


def test_a_server_that_never_begins_a_sentence_holds_up_nothing_else() -> None:
    talk = Talk()
    talk.says()
    talk.floor.withdraw(1)
    talk.answers()
    assert talk.asked == ["say", "answer"]


def test_a_server_that_tells_no_ends_of_playing_is_not_remembered_for_ever() -> None:
    talk = Talk()
    for number in range(100):
        talk.begins(f"r{number}")
        talk.ends(f"r{number}", SPOKEN)
    for number in range(100 - MAX_AUDIBLE - 1, 100):
        assert not talk.floor.quiet
        talk.plays("stopped", f"r{number}")
    assert talk.floor.quiet


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b'{"type": 1}', b'{"type": "response.done"}', b"\xff", b"[" * 100000),
        *(b'{"type": "response.done", "response": null}', b'{"type": "response.done", "response": {"id": null}}'),
        b'{"type": "session.updated", "session": {"tools": null, "x": ' + b"[" * 100000,
    ],
)
def test_events_that_cannot_be_read_tell_nothing(data: bytes) -> None:
    assert read_fact(data) is None


# -- addresses


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"Ann" <sip:+15550001@example.com>;tag=1', "+15550001"),
        ('"<sip:evil@x>\\" " <sips:ann@example.com:5061;transport=tls>;tag=1', "ann"),
        ("Ann Lee <tel:+1-555-0001;phone-context=x>", "+15550001"),
        ("sip:ann@example.com;tag=1", "ann"),
        ("<sip:ann%20lee;isub=1:secret@example.com>", "ann lee"),
        ("<sip:example.com;transport=udp>", "example.com"),
        ("Anonymous <sip:anonymous@anonymous.invalid>;tag=1", "anonymous"),
        ("<mailto:ann@example.com>", ""),
        ("nonsense", ""),
        ("", ""),
        ('"' * 60000, ""),
    ],
)
def test_the_caller_is_read_from_the_header(header: str, expected: str) -> None:
    assert party(header) == expected
