"""Dead air: what is heard while something is worked on, when it begins and ends, and what is remembered of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.core.talk import Talk, one, types
from tests.core.test_mcp_session import calls, finishes, with_tools

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.session.settings import SessionDefaults
from offhook.session.waiting import LONGEST_S, RESPONSE_GRACE_S
from offhook.wire import limits
from offhook.wire.decode import decode_client_event
from offhook.wire.own import Beep, Own, PlayClip, Say

TOOL = {"type": "function", "name": "look_up", "parameters": {}}
TONE = {"after_ms": 1000, "tone": True}
MOMENT = {"after_ms": 1000, "say": "One moment, please."}
CLIPS = EngineOptions(needs_transcripts=False, clips=frozenset({"music"}))


def waiting(while_waiting: dict[str, Any] | None = None, **session: Any) -> Talk:
    return Talk(tools=[TOOL], offhook={"while_waiting": while_waiting or TONE}, options=CLIPS, **session)


def fills(talk: Talk) -> int:
    return talk.count(do.Fill)


def stops(talk: Talk) -> int:
    return talk.count(do.StopFilling)


def calls_a_function(talk: Talk) -> str:
    run = talk.generate().run
    talk.happens(happened.ToolCallStarted(run, 0, "look_up", "call_1"))
    talk.happens(happened.ToolArgumentsProduced(run, 0, "{}"))
    talk.happens(happened.GenerationFinished(run))
    return "call_1"


def gives_output(talk: Talk, call_id: str = "call_1") -> None:
    item = {"type": "function_call_output", "call_id": call_id, "output": "nine"}
    assert "error" not in types(talk.client("conversation.item.create", item=item))


def transcripts(talk: Talk) -> list[str]:
    """The conversation, as the model would read it."""
    texts = []
    for item in talk.engine.conversation:
        parts = getattr(item, "content", ())
        texts.append("".join(str(getattr(part, "transcript", "")) for part in parts) or type(item).__name__)
    return texts


# -- when it begins, when it ends


def test_a_slow_model_is_bridged_after_the_time_that_was_asked_for() -> None:
    talk = waiting()
    talk.says()
    talk.waits(0.99)
    assert fills(talk) == 0
    talk.waits(0.02)
    assert talk.last(do.Fill).filling == Beep()


def test_a_quick_model_is_not() -> None:
    talk = waiting()
    talk.says()
    talk.waits(0.5)
    talk.answers()
    talk.waits(5)
    assert fills(talk) == 0


def test_without_a_wish_nothing_is_heard() -> None:
    talk = Talk(tools=[TOOL])
    talk.says()
    talk.waits(60)
    assert fills(talk) == 0


def test_the_answer_ends_it_without_a_word_to_the_audio_plane() -> None:
    """There the first frame of the answer takes its place; a command could only come too early or too late."""
    talk = waiting()
    talk.says()
    talk.waits(2)
    talk.answers()
    assert (fills(talk), stops(talk)) == (1, 0)


def test_the_caller_ends_it() -> None:
    talk = waiting()
    talk.says()
    talk.waits(2)
    talk.happens(happened.VoiceStarted(talk.input_ms))
    assert stops(talk) >= 1


def test_a_response_that_fails_ends_it() -> None:
    talk = waiting()
    talk.says()
    talk.waits(2)
    talk.happens(happened.GenerationFailed(talk.generate().run, "model_error", "It broke."))
    assert stops(talk) == 1


def test_a_function_at_work_is_bridged_and_so_is_the_model_after_it() -> None:
    talk = waiting()
    talk.says()
    calls_a_function(talk)
    talk.waits(1.5)
    assert fills(talk) == 1
    gives_output(talk)
    talk.client("response.create")
    talk.waits(3)
    assert (fills(talk), stops(talk)) == (1, 0)
    talk.answers()
    talk.waits(3)
    assert (fills(talk), stops(talk)) == (1, 0)


def test_a_tool_of_an_mcp_server_at_work_is_bridged() -> None:
    talk = with_tools(offhook={"while_waiting": TONE})
    calls(talk)
    talk.waits(1.5)
    assert fills(talk) == 1
    finishes(talk, output="Ada")
    talk.client("response.create")
    talk.waits(3)
    assert (fills(talk), stops(talk)) == (1, 0)
    talk.answers()
    talk.waits(3)
    assert (fills(talk), stops(talk)) == (1, 0)


def test_an_application_that_wants_no_response_is_not_waited_for() -> None:
    talk = waiting()
    talk.says()
    calls_a_function(talk)
    talk.waits(1.5)
    gives_output(talk)
    talk.waits(RESPONSE_GRACE_S + 0.1)
    assert (fills(talk), stops(talk)) == (1, 1)
    talk.waits(60)
    assert fills(talk) == 1


def test_a_function_that_never_answers_is_not_bridged_for_ever() -> None:
    talk = waiting()
    talk.says()
    calls_a_function(talk)
    talk.waits(LONGEST_S + 2)
    assert (fills(talk), stops(talk)) == (1, 1)
    assert talk.engine.next_deadline() is None


def test_the_wait_begins_when_the_agent_has_finished_speaking() -> None:
    talk = waiting()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "Let me see."))
    talk.audio(run, 800, "Let me see.")
    calls_a_function(talk)
    talk.happens(happened.PlayoutStarted(run))
    talk.waits(3)
    assert fills(talk) == 0
    talk.happens(happened.PlayoutFinished(run, 800))
    talk.waits(1.1)
    assert fills(talk) == 1


def test_a_response_in_writing_is_not_bridged() -> None:
    talk = waiting(output_modalities=["text"])
    talk.says()
    talk.waits(5)
    assert fills(talk) == 0


def test_a_client_that_clears_the_output_hears_no_tone_either() -> None:
    talk = waiting()
    talk.says()
    talk.waits(2)
    talk.client("output_audio_buffer.clear")
    assert stops(talk) == 1


# -- the sentence


def moment_is_made(talk: Talk) -> int:
    number = talk.last(do.Fill).number
    talk.happens(happened.FillerSpoken(number, (("One", 500.0), (" moment,", 500.0), (" please.", 500.5))))
    return number


def moment_is_said(talk: Talk, played_ms: int = 1500) -> list[dict[str, Any]]:
    return talk.happens(happened.FillerEnded(moment_is_made(talk), played_ms))


def test_a_sentence_is_remembered_before_the_function_it_bridged() -> None:
    """Chat servers refuse anything between a function call and its output."""
    talk = waiting(MOMENT)
    talk.says()
    calls_a_function(talk)
    talk.waits(1.5)
    gives_output(talk)
    assert talk.last(do.Fill).filling == Say("One moment, please.")
    events = moment_is_said(talk)
    item = one(events, "conversation.item.done")["item"]
    assert (item["role"], item["status"]) == ("assistant", "completed")
    assert transcripts(talk)[-3:] == ["One moment, please.", "FunctionCall", "FunctionCallOutput"]


def test_of_a_sentence_that_the_caller_interrupts_only_what_was_heard_is_remembered() -> None:
    talk = waiting(MOMENT)
    talk.says()
    talk.waits(2)
    talk.happens(happened.VoiceStarted(talk.input_ms))
    assert stops(talk) >= 1
    item = one(moment_is_said(talk, 1100), "conversation.item.done")["item"]
    assert item["status"] == "incomplete"
    assert item["content"][0]["transcript"] == "One moment,"


def test_a_sentence_that_was_not_heard_at_all_is_not_remembered() -> None:
    talk = waiting(MOMENT)
    talk.says()
    talk.waits(2)
    before = transcripts(talk)
    assert moment_is_said(talk, 0) == []
    assert transcripts(talk) == before


def test_the_answer_comes_after_the_sentence_in_the_conversation_too() -> None:
    talk = waiting(MOMENT)
    talk.says()
    talk.waits(2)
    number = moment_is_made(talk)
    talk.answers("At nine.")
    talk.happens(happened.FillerEnded(number, 1500))
    assert stops(talk) == 0
    assert transcripts(talk)[-2:] == ["One moment, please.", "At nine."]


def test_a_sentence_that_is_not_made_yet_does_not_come_after_the_answer() -> None:
    talk = waiting(MOMENT)
    talk.says()
    talk.waits(2)
    talk.answers("At nine.")
    assert stops(talk) == 1
    assert talk.last(do.StopFilling).number == talk.last(do.Fill).number
    talk.happens(happened.FillerEnded(talk.last(do.Fill).number, 0))
    assert transcripts(talk)[-1] == "At nine."


def test_a_sentence_has_its_place_in_a_conversation_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = waiting(MOMENT)
    talk.says()
    talk.answers()
    talk.happens(happened.PlayoutFinished(talk.generate().run, 2000))
    talk.says()
    calls_a_function(talk)
    talk.waits(1.5)
    oldest = next(iter(talk.engine.conversation)).id
    monkeypatch.setattr(limits, "MAX_CONVERSATION_ITEMS", len(talk.engine.conversation))
    item = one(moment_is_said(talk), "conversation.item.done")["item"]
    assert item["content"][0]["transcript"] == "One moment, please."
    assert transcripts(talk)[-2:] == ["One moment, please.", "FunctionCall"]
    assert oldest not in talk.engine.conversation


def test_a_sentence_is_said_once_in_a_wait() -> None:
    talk = waiting(MOMENT)
    talk.says()
    calls_a_function(talk)
    talk.waits(1.5)
    moment_is_said(talk)
    talk.waits(30)
    assert fills(talk) == 1


def test_a_tone_is_never_part_of_the_conversation() -> None:
    talk = waiting()
    talk.says()
    talk.waits(2)
    before = transcripts(talk)
    assert talk.happens(happened.FillerEnded(talk.last(do.Fill).number, 900)) == []
    assert transcripts(talk) == before


# -- speak first


def test_the_agent_can_be_told_its_first_words() -> None:
    talk = Talk(offhook={"speak_first": "Praxis Dr. Weber, good morning."})
    assert talk.generate().verbatim == "Praxis Dr. Weber, good morning."
    assert "response.created" in types(talk.sent)


def test_the_agent_can_begin_in_its_own_words() -> None:
    assert Talk(offhook={"speak_first": True}).generate().verbatim == ""


@pytest.mark.parametrize("wish", [{}, {"speak_first": None}, {"speak_first": False}, {"speak_first": ""}])
def test_else_the_caller_begins(wish: dict[str, Any]) -> None:
    assert Talk(offhook=wish).count(do.Generate) == 0


def test_an_update_can_ask_for_it_until_something_was_said() -> None:
    talk = Talk()
    talk.client("session.update", session={"type": "realtime", "offhook": {"speak_first": "Hello."}})
    assert talk.generate().verbatim == "Hello."
    talk.answers("Hello.")
    talk.client("session.update", session={"type": "realtime", "offhook": {"speak_first": "Hello again."}})
    assert talk.count(do.Generate) == 1


def test_any_response_can_be_given_its_words() -> None:
    talk = Talk()
    talk.client("response.create", response={"offhook": {"say": "The doctor is late."}, "input": []})
    assert talk.generate().verbatim == "The doctor is late."
    talk.answers("The doctor is late.")
    talk.client("response.create")
    assert talk.generate().verbatim == ""


@pytest.mark.parametrize("own", [None, {}])
def test_a_response_without_words_of_its_own_is_the_models(own: dict[str, Any] | None) -> None:
    talk = Talk()
    talk.client("response.create", response={"offhook": own})
    assert talk.generate().verbatim == ""


@pytest.mark.parametrize("own", [{"say": ""}, {"say": "x" * 1001}, {"says": "Hello."}])
def test_words_that_cannot_be_said_are_refused(own: dict[str, Any]) -> None:
    event = {"type": "response.create", "response": {"offhook": own}}
    with pytest.raises(ApiProblem) as refused:
        decode_client_event(msgspec.json.encode(event).decode())
    assert str(refused.value.param).startswith("response.offhook")


# -- settings and updates


def test_the_servers_settings_hold_for_sessions_that_ask_for_nothing() -> None:
    own = Own(speak_first="Hello.", filling=Beep(), filling_after_ms=700)
    talk = Talk(options=EngineOptions(needs_transcripts=False, defaults=SessionDefaults(own=own)))
    assert talk.generate().verbatim == "Hello."
    talk.waits(0.8)
    assert fills(talk) == 1


def test_a_session_can_switch_the_servers_settings_off() -> None:
    own = Own(speak_first="Hello.", filling=Beep(), filling_after_ms=700)
    options = EngineOptions(needs_transcripts=False, defaults=SessionDefaults(own=own))
    talk = Talk(options=options, offhook={"speak_first": None, "while_waiting": None, "apology": None})
    talk.says()
    assert talk.generate().apology == ""
    talk.waits(60)
    assert fills(talk) == 0


def test_an_update_changes_what_is_heard_from_then_on() -> None:
    talk = waiting()
    talk.client("session.update", session={"type": "realtime", "offhook": {"while_waiting": {"clip": "music"}}})
    talk.says()
    assert talk.generate().apology is None
    talk.waits(1.4)
    assert fills(talk) == 0
    talk.waits(0.2)
    assert talk.last(do.Fill).filling == PlayClip("music")


def test_our_members_are_never_shown() -> None:
    talk = waiting()
    events = talk.client("session.update", session={"type": "realtime", "offhook": {"apology": "Sorry."}})
    assert "offhook" not in one(events, "session.updated")["session"]


@pytest.mark.parametrize(
    ("own", "param"),
    [
        ({"while_waiting": {}}, "session.offhook.while_waiting.say"),
        ({"while_waiting": {"say": "One moment.", "tone": True}}, "session.offhook.while_waiting"),
        ({"while_waiting": {"clip": "../secret"}}, "session.offhook.while_waiting.clip"),
        ({"while_waiting": {"clip": "nothing"}}, "session.offhook.while_waiting.clip"),
        ({"while_waiting": {"tone": True, "after_ms": 10}}, "session.offhook.while_waiting.after_ms"),
        ({"while_waiting": {"tone": False}}, "session.offhook.while_waiting.say"),
        ({"speak_first": 5}, "session.offhook.speak_first"),
        ({"greeting": "Hello."}, "session.offhook.greeting"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(own: dict[str, Any], param: str) -> None:
    talk = waiting()
    events = talk.client("session.update", session={"type": "realtime", "offhook": own})
    assert one(events, "error")["error"]["param"] == param
    with pytest.raises(ApiProblem) as refused:
        Talk(offhook=own)
    assert refused.value.param == param
