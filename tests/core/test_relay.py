"""A conversation on an upstream: what is sent there, what comes of its answers, and how it is lost and found."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from tests.core.relay_talk import PATIENCE_S, TRANSCRIBED, RelayTalk
from tests.core.talk import RESPONSE_END, SPOKEN_ITEM, SPOKEN_ITEM_END, function, one, said_by_assistant, types

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.relay import limits, steps
from offhook.session.relay.dialect import DIALECTS
from offhook.session.relay.mirror import Mirror
from offhook.session.relay.post import Post
from offhook.session.relay.turns import Turns
from offhook.wire.ids import Ids
from offhook.wire.items import McpListedTool

WORDS = "conversation.item.input_audio_transcription"
REFUSED = "The model's server refused the connection: HTTP 401."

# -- a turn and its answer


def test_a_spoken_turn_is_answered_in_the_order_of_live_traffic() -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    turn = talk.says(1000)
    assert types(turn)[-1] == "response.created"
    assert talk.sent_types() == [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "response.create",
    ]
    user_id = one(turn, "input_audio_buffer.committed")["item_id"]
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_0", previous_item_id=None)
    begun = talk.begins()
    assert begun == []
    assert types(talk.speaks("We open ", 500)) == SPOKEN_ITEM
    name = "conversation.item.input_audio_transcription"
    told = talk.says_upstream(f"{name}.delta", item_id="item_there_0", content_index=0, delta="When?")
    assert one(told, f"{name}.delta")["item_id"] == user_id
    told = talk.says_upstream(f"{name}.completed", item_id="item_there_0", content_index=0, transcript="When?")
    assert one(told, f"{name}.completed")["transcript"] == "When?"
    talk.speaks("at nine.", 500)
    ended = talk.ends()
    assert types(ended) == SPOKEN_ITEM_END + RESPONSE_END
    response = one(ended, "response.done")["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": "We open at nine."}]
    assert response["usage"]["total_tokens"] == 30


def test_a_turn_is_streamed_while_it_is_spoken_and_is_whole_at_its_end() -> None:
    talk = RelayTalk()
    talk.waits(1.0)
    talk.happens(happened.VoiceStarted(1000))
    talk.waits(0.8)
    assert 0 < len(talk.audio_sent()) <= 1100 * 8, "some of it went before the turn was over"
    assert not talk.asked("input_audio_buffer.commit")
    talk.waits(0.7)
    talk.happens(happened.VoiceStopped(2000, 2500))
    assert len(talk.audio_sent()) == (2500 - 700) * 8, "from 300 ms before the voice to the decision, as mu-law"
    assert len(talk.asked("input_audio_buffer.commit")) == 1
    assert not talk.asked("input_audio_buffer.clear")


def test_silence_is_not_sent() -> None:
    talk = RelayTalk()
    talk.waits(30)
    assert talk.sent_types() == ["session.update"]


def test_upstream_detects_no_turns_and_speaks_g711_on_a_call() -> None:
    talk = RelayTalk(instructions="Be brief.", tools=[function()], audio=TRANSCRIBED)
    (update,) = talk.asked("session.update")
    session = update["session"]
    assert session["type"] == "realtime"
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1"}
    assert session["instructions"] == "Be brief."
    assert [tool["name"] for tool in session["tools"]] == ["opening_hours"]
    assert talk.connects == ["there"]


def test_an_update_is_validated_here_and_only_what_changed_is_sent() -> None:
    talk = RelayTalk()
    talk.client("session.update", session={"type": "realtime", "nonsense": 1})
    assert len(talk.asked("session.update")) == 1
    talk.client("session.update", session={"type": "realtime", "instructions": "Sing."})
    assert talk.asked("session.update")[-1]["session"] == {"type": "realtime", "instructions": "Sing."}
    talk.client("session.update", session={"type": "realtime", "instructions": "Sing."})
    assert len(talk.asked("session.update")) == 2
    for speed in (1.2, 1.0):
        talk.client("session.update", session={"type": "realtime", "audio": {"output": {"speed": speed}}})
        assert talk.asked("session.update")[-1]["session"]["audio"] == {"output": {"speed": speed}}


def test_a_member_that_upstream_refuses_costs_none_of_the_others() -> None:
    """Updates are all or nothing there: without its formats and its turns a session would be nonsense."""
    talk = RelayTalk(instructions="Be brief.")
    (update,) = talk.asked("session.update")
    refused = {"code": "invalid_value", "message": "No such voice.", "event_id": update["event_id"]}
    assert talk.says_upstream("error", error=refused) == []
    alone = talk.asked("session.update")[1:]
    assert {"type": "realtime", "instructions": "Be brief."} in [each["session"] for each in alone]
    (voice,) = (each for each in alone if "voice" in str(each))
    (told,) = talk.says_upstream("error", error=refused | {"event_id": voice["event_id"]})
    assert told["error"]["message"] == "No such voice."
    assert len(talk.asked("session.update")) == 1 + len(alone)


def test_what_upstream_says_about_an_update_is_told_as_an_error() -> None:
    talk = RelayTalk()
    talk.client("session.update", session={"type": "realtime", "instructions": "Sing."})
    update = talk.asked("session.update")[-1]
    problem = {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "No.",
        "event_id": update["event_id"],
    }
    (told,) = talk.says_upstream("error", error=problem)
    assert told["error"]["code"] == "invalid_value"
    assert told["error"]["event_id"] is None, "that id is not a client's"


# -- barge-in


def interrupted(cut_ms: int = 900) -> RelayTalk:
    talk = RelayTalk()
    talk.says()
    talk.begins()
    talk.speaks("one two three four five six seven eight", 4000)
    talk.happens(happened.PlayoutStarted(talk.run))
    talk.happens(happened.PlayoutAdvanced(talk.run, cut_ms), after_s=cut_ms / 1000)
    return talk


def test_a_barge_in_cancels_upstream_and_cuts_its_history_at_what_was_played() -> None:
    talk = interrupted()
    run = talk.run
    talk.happens(happened.VoiceStarted(talk.input_ms))
    assert talk.asked("response.cancel")[0]["response_id"] == "resp_there_1"
    assert not talk.asked("conversation.item.truncate"), "it is not known yet what went out"
    talk.happens(happened.PlayoutStopped(run, 940))
    (cut,) = talk.asked("conversation.item.truncate")
    assert (cut["item_id"], cut["content_index"], cut["audio_end_ms"]) == ("item_there_1", 0, 940)
    assert one(talk.sent, "conversation.item.truncated")["audio_end_ms"] == 940
    assert said_by_assistant(talk) == ["one two"]


def test_what_upstream_still_says_after_a_cancellation_is_heard_by_nobody() -> None:
    talk = interrupted()
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(talk.run, 940))
    plays = talk.count(do.Play)
    assert talk.speaks("nine ten", 500) == []
    assert talk.ends("cancelled") == []
    assert talk.count(do.Play) == plays


def test_the_next_response_is_asked_for_when_the_cancelled_one_has_ended_upstream() -> None:
    talk = interrupted()
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(talk.run, 940))
    talk.waits(1.0)
    talk.happens(happened.VoiceStopped(talk.input_ms - 500, talk.input_ms))
    assert len(talk.asked("response.create")) == 1
    talk.ends("cancelled")
    assert len(talk.asked("response.create")) == 2
    talk.answers_upstream("Yes?", number=2)
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


def test_a_cancelled_response_that_upstream_never_ends_does_not_hold_up_the_next() -> None:
    talk = interrupted()
    talk.client("response.cancel")
    talk.client("response.create")
    assert len(talk.asked("response.create")) == 1
    talk.waits(limits.CANCEL_S + 0.1)
    assert len(talk.asked("response.create")) == 2


def test_a_response_that_is_cancelled_before_it_began_upstream_is_cancelled_there_when_it_begins() -> None:
    talk = RelayTalk()
    talk.client("response.create")
    talk.client("response.cancel")
    assert not talk.asked("response.cancel")
    talk.says_upstream("response.created", response={"id": "resp_there_1", "status": "in_progress"})
    assert talk.asked("response.cancel")[0]["response_id"] == "resp_there_1"
    assert talk.speaks("nobody", 100) == []


@pytest.mark.parametrize("ending", ["done", "never"])
def test_upstream_forgets_an_answer_of_which_nobody_heard_anything(ending: str) -> None:
    talk = RelayTalk()
    talk.says()
    talk.begins()
    talk.client("response.cancel")
    talk.speaks("Your balance is four hundred.", 2500)
    assert not talk.asked("conversation.item.delete"), "it may not be there yet"
    if ending == "done":
        talk.ends("cancelled")
    else:
        talk.waits(limits.CANCEL_S + 0.1)
    assert [each["item_id"] for each in talk.asked("conversation.item.delete")] == ["item_there_1"]
    talk.client("response.create")
    assert talk.sent_types()[-2:] == ["conversation.item.delete", "response.create"]


def test_upstream_forgets_the_messages_of_an_answer_that_nobody_asked_for() -> None:
    talk = RelayTalk()
    talk.begins("own", "item_own")
    talk.speaks("Hello!", 500, "own", "item_own")
    talk.ends("cancelled", "own")
    talk.ends("cancelled", "own")
    assert [each["item_id"] for each in talk.asked("conversation.item.delete")] == ["item_own"]


def test_an_answer_that_was_heard_in_part_is_cut_and_not_forgotten() -> None:
    talk = interrupted()
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(talk.run, 940))
    talk.ends("cancelled")
    assert not talk.asked("conversation.item.delete")


def test_a_cut_is_never_beyond_what_upstream_said() -> None:
    """Upstream refuses to cut a message at more than it has, and what is played is rounded here."""
    talk = interrupted(3900)
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(talk.run, 4000))
    for cut in talk.asked("conversation.item.truncate"):
        assert cut["audio_end_ms"] <= 4000


def test_each_message_of_a_response_is_one_here_and_is_cut_for_itself() -> None:
    talk = RelayTalk()
    talk.says()
    talk.begins()
    talk.speaks("One moment. ", 500)
    told = talk.speaks("We open at nine.", 2000, item_id="item_there_1b")
    talk.ends()
    assert "conversation.item.done" in types(told)
    announced = [each["item"]["id"] for each in talk.sent if each["type"] == "response.output_item.added"]
    assert len(announced) == 2
    talk.happens(happened.PlayoutStarted(talk.run))
    talk.happens(happened.VoiceStarted(talk.input_ms), after_s=0.3)
    talk.happens(happened.PlayoutStopped(talk.run, 300))
    cuts = [(each["item_id"], each["audio_end_ms"]) for each in talk.asked("conversation.item.truncate")]
    assert cuts == [("item_there_1", 300), ("item_there_1b", 0)]
    told_cuts = [each["item_id"] for each in talk.sent if each["type"] == "conversation.item.truncated"]
    assert told_cuts == announced


def test_the_messages_of_a_written_response_are_several() -> None:
    talk = RelayTalk()
    talk.client("response.create", response={"output_modalities": ["text"]})
    talk.says_upstream("response.created", response={"id": "r", "status": "in_progress"})
    for item_id, words in (("a", " "), ("a", "Nine."), ("b", "Or ten.")):
        talk.says_upstream("response.output_text.delta", response_id="r", item_id=item_id, delta=words)
    output = one(talk.ends(response_id="r"), "response.done")["response"]["output"]
    assert [item["content"][0]["text"] for item in output] == ["Nine.", "Or ten."]


# -- items


def test_items_of_clients_keep_their_ids_and_go_upstream_before_the_response() -> None:
    talk = RelayTalk()
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
    talk.client("conversation.item.create", item={"id": "mine", **message})
    talk.client("conversation.item.create", item={"id": "x" * 60, **message})
    talk.client("response.create")
    first, second = (event["item"] for event in talk.asked("conversation.item.create"))
    assert first == {"id": "mine"} | message
    assert len(second["id"]) <= 32
    assert talk.sent_types()[-1] == "response.create"
    talk.client("conversation.item.delete", item_id="x" * 60)
    assert talk.asked("conversation.item.delete")[0]["item_id"] == second["id"]


def test_an_item_that_is_put_between_others_is_put_there_upstream_too() -> None:
    talk = RelayTalk()
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
    for name in ("a", "c"):
        talk.client("conversation.item.create", item={"id": name, **message})
    talk.client("response.create")
    talk.answers_upstream()
    talk.client("conversation.item.create", item={"id": "b", **message}, previous_item_id="a")
    talk.client("conversation.item.create", item={"id": "0", **message}, previous_item_id="root")
    talk.client("response.create")
    created = {event["item"]["id"]: event.get("previous_item_id") for event in talk.asked("conversation.item.create")}
    assert created == {"a": None, "c": None, "0": "root", "b": "a"}


def test_a_function_call_goes_there_and_back_with_the_call_id_of_the_upstream() -> None:
    talk = RelayTalk(tools=[function()])
    talk.client("response.create")
    talk.says_upstream("response.created", response={"id": "r", "status": "in_progress"})
    where = {"response_id": "r", "output_index": 0}
    item = {"id": "f", "type": "function_call", "name": "opening_hours", "call_id": "call_there", "arguments": ""}
    talk.says_upstream("response.output_item.added", item=item, **where)
    talk.says_upstream("response.function_call_arguments.delta", item_id="f", delta='{"day"', **where)
    talk.says_upstream("response.function_call_arguments.delta", item_id="f", delta=":1}", **where)
    whole = {"item_id": "f", "arguments": '{"day":1}', "call_id": "call_there", "name": "opening_hours"}
    talk.says_upstream("response.function_call_arguments.done", **whole, **where)
    talk.says_upstream("response.output_item.done", item=item | {"arguments": '{"day":1}'}, **where)
    done = one(talk.ends(response_id="r"), "response.done")
    (call,) = done["response"]["output"]
    assert (call["name"], call["arguments"], call["call_id"]) == ("opening_hours", '{"day":1}', "call_there")
    output = {"type": "function_call_output", "call_id": "call_there", "output": "nine"}
    talk.client("conversation.item.create", item=output)
    talk.client("response.create")
    (created,) = talk.asked("conversation.item.create")
    assert created["item"]["call_id"] == "call_there"


def test_a_response_beside_the_conversation_takes_the_items_it_was_given() -> None:
    talk = RelayTalk()
    talk.says()
    talk.answers_upstream()
    said = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Sum up."}]}]
    spoken = one(talk.sent, "response.output_item.done")["item"]["id"]
    chosen = [{"type": "item_reference", "id": spoken}, *said]
    talk.client("response.create", response={"conversation": "none", "input": chosen, "output_modalities": ["text"]})
    asked = talk.asked("response.create")[-1]["response"]
    assert asked["conversation"] == "none"
    assert asked["output_modalities"] == ["text"]
    assert asked["input"] == [{"type": "item_reference", "id": "item_there_1"}, *said]
    talk.says_upstream("response.created", response={"id": "r2", "status": "in_progress"})
    talk.says_upstream("response.output_text.delta", response_id="r2", item_id="i2", output_index=0, delta="Nine.")
    done = one(talk.ends(response_id="r2"), "response.done")["response"]
    assert done["output"][0]["content"][0]["text"] == "Nine."
    assert done["conversation_id"] is None


def test_overrides_of_one_response_are_asked_for_and_nothing_else() -> None:
    talk = RelayTalk(instructions="Be brief.")
    talk.client("response.create", response={"instructions": "Greet.", "max_output_tokens": 100})
    (asked,) = talk.asked("response.create")
    mark = {"metadata": {"offhook_run": str(talk.run)}}
    assert asked["response"] == {"instructions": "Greet.", "max_output_tokens": 100} | mark


def test_a_response_thinks_and_calls_as_it_was_asked_to_and_the_session_goes_on_as_it_was() -> None:
    """Symptom: the effort of one response, and its calls one at a time, did nothing upstream."""
    talk = RelayTalk(reasoning={"effort": "low"}, parallel_tool_calls=True)
    wanted = {"reasoning": {"effort": "high"}, "parallel_tool_calls": False}
    for number, members in enumerate((wanted, {"reasoning": {"effort": "low"}, "parallel_tool_calls": True}, {})):
        talk.client("response.create", response=members)
        talk.answers_upstream(number=number)
    asked = [event["response"] for event in talk.asked("response.create")]
    for response in asked:
        del response["metadata"]
    assert asked == [wanted, {}, {}]


def test_a_session_that_said_nothing_of_thinking_tells_upstream_what_a_response_says() -> None:
    talk = RelayTalk()
    wanted = {"reasoning": {"effort": "high"}, "parallel_tool_calls": True}
    talk.client("response.create", response=wanted)
    (asked,) = talk.asked("response.create")
    assert wanted.items() <= asked["response"].items()


def test_an_item_that_upstream_refuses_is_told_once_and_not_sent_again() -> None:
    talk = RelayTalk()
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    talk.client("conversation.item.create", item={"type": "message", "role": "user", "content": [image]})
    talk.client("response.create")
    (created,) = talk.asked("conversation.item.create")
    refused = {"code": "invalid_value", "message": "No images.", "event_id": created["event_id"]}
    assert types(talk.says_upstream("error", error=refused)) == ["error"]
    talk.answers_upstream()
    talk.client("response.create")
    assert len(talk.asked("conversation.item.create")) == 1


def test_a_tool_of_an_mcp_server_is_a_function_to_the_upstream() -> None:
    server = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example/", "require_approval": "never"}
    talk = RelayTalk(tools=[server])
    listing = talk.last(do.ListMcpTools).item_id
    listed = McpListedTool(name="find", input_schema={"type": "object"})
    talk.happens(happened.McpToolsListed(listing, (listed,)))
    talk.client("response.create")
    (asked,) = talk.asked("response.create")
    assert [tool["name"] for tool in asked["response"]["tools"]] == ["crm__find"]
    talk.says_upstream("response.created", response={"id": "r", "status": "in_progress"})
    item = {"id": "f", "type": "function_call", "name": "crm__find", "call_id": "call_there", "arguments": ""}
    talk.says_upstream("response.output_item.added", response_id="r", output_index=0, item=item)
    talk.says_upstream("response.output_item.done", response_id="r", output_index=0, item=item | {"arguments": "{}"})
    talk.ends(response_id="r")
    talk.happens(happened.McpCallFinished(talk.last(do.CallMcpTool).item_id, output="Ann"))
    talk.client("response.create")
    (created,) = talk.asked("conversation.item.create")
    assert created["item"] | {"id": ""} == {
        "id": "",
        "type": "function_call_output",
        "call_id": "call_there",
        "output": "Ann",
    }


def test_words_that_are_to_be_said_verbatim_are_asked_for() -> None:
    talk = RelayTalk(tools=[function()])
    talk.client("response.create", response={"offhook": {"say": "Good morning."}})
    (asked,) = talk.asked("response.create")
    assert asked["response"]["instructions"].endswith("Good morning.")
    assert (asked["response"]["tools"], asked["response"]["tool_choice"]) == ([], "none")


def test_a_caller_who_says_nothing_is_asked_again_from_here() -> None:
    talk = RelayTalk(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
    talk.says()
    talk.answers_upstream()
    talk.happens(happened.PlayoutStarted(talk.run))
    talk.happens(happened.PlayoutFinished(talk.run, 2000), after_s=2)
    talk.upstream.clear()
    told = talk.waits(5.1)
    assert "input_audio_buffer.timeout_triggered" in types(told)
    assert talk.sent_types() == ["conversation.item.create", "response.create"], "silence is not sent"
    (created,) = talk.asked("conversation.item.create")
    assert created["item"]["role"] == "system"


def test_logprobs_come_through() -> None:
    talk = RelayTalk(audio=TRANSCRIBED, include=["item.input_audio_transcription.logprobs"])
    talk.says()
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_0")
    name = "conversation.item.input_audio_transcription.delta"
    logprobs = [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}]
    told = talk.says_upstream(name, item_id="item_there_0", content_index=0, delta="Hi", logprobs=logprobs)
    assert one(told, name)["logprobs"] == logprobs
    told = talk.says_upstream(name, item_id="item_there_0", content_index=0, delta="Hi", logprobs="odd")
    assert not one(told, name).get("logprobs")


def test_who_said_what_is_passed_on_under_the_item_here() -> None:
    talk = RelayTalk(audio={"input": {"transcription": {"model": "gpt-4o-transcribe-diarize"}}})
    user_id = one(talk.says(1000), "input_audio_buffer.committed")["item_id"]
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_0", previous_item_id=None)
    spoken = {"text": "When?", "speaker": "A", "start": 0, "end": 0.5, "id": "seg_there", "content_index": 0}
    told = talk.says_upstream(f"{WORDS}.segment", item_id="item_there_0", **spoken)
    segment = one(told, f"{WORDS}.segment")
    assert (segment["item_id"], segment["text"], segment["speaker"], segment["end"]) == (user_id, "When?", "A", 0.5)
    assert talk.says_upstream(f"{WORDS}.segment", item_id="item_there_0", text="When?") == [], "nobody said it"


@pytest.mark.parametrize("names_commits", [False, True])
def test_words_without_an_id_are_those_of_the_first_turn_that_has_none(names_commits: bool) -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    for number in (1, 2):
        talk.says()
        if names_commits:
            talk.says_upstream("input_audio_buffer.committed", item_id=f"turn_there_{number}")
        talk.answers_upstream(number=number)
    for words in ("One", "Two"):
        talk.says_upstream(f"{WORDS}.delta", delta=words)
        talk.says_upstream(f"{WORDS}.completed", transcript=words)
    turns = [each["item_id"] for each in talk.sent if each["type"] == "input_audio_buffer.committed"]
    heard = [(each["item_id"], each["transcript"]) for each in talk.sent if each["type"] == f"{WORDS}.completed"]
    assert heard == list(zip(turns, ("One", "Two"), strict=True))
    assert not talk.relay.awaits_words
    talk.says()
    talk.says_upstream(f"{WORDS}.failed", error={"message": "No."})
    assert not talk.relay.awaits_words


def test_a_minute_of_turns_that_upstream_has_is_kept_for_another_connection() -> None:
    talk = RelayTalk()
    for number in range(3):
        talk.says(30_000)
        talk.answers_upstream(number=number)
    talk.lose()
    talk.waits(0.1)
    talk.upstream.clear()
    talk.connect()
    talk.client("response.create")
    assert len(talk.asked("input_audio_buffer.commit")) == 2


# -- failures


def test_a_response_that_fails_upstream_fails_here_with_its_error() -> None:
    talk = RelayTalk()
    talk.says()
    talk.begins()
    error = {"type": "server_error", "code": "rate_limit_exceeded", "message": "Slow down."}
    ended = talk.ends("failed", status_details={"type": "failed", "error": error})
    details = one(ended, "response.done")["response"]["status_details"]
    assert details == {"type": "failed", "error": error}
    talk.client("response.create")
    talk.answers_upstream(number=2)
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


def test_a_turn_that_upstream_refuses_is_a_failed_transcript_and_is_not_sent_again() -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    talk.says()
    (commit,) = talk.asked("input_audio_buffer.commit")
    code = "input_audio_buffer_commit_empty"
    refused = {"code": code, "message": "Too little.", "event_id": commit["event_id"]}
    told = talk.says_upstream("error", error=refused)
    assert one(told, "conversation.item.input_audio_transcription.failed")["error"]["code"] == code
    talk.answers_upstream()
    talk.client("response.create")
    assert len(talk.asked("input_audio_buffer.commit")) == 1


def test_a_response_that_upstream_refuses_fails_with_that_error() -> None:
    talk = RelayTalk()
    talk.client("response.create")
    (asked,) = talk.asked("response.create")
    problem = {
        "type": "invalid_request_error",
        "code": "insufficient_quota",
        "message": "Pay.",
        "event_id": asked["event_id"],
    }
    told = talk.says_upstream("error", error=problem)
    assert one(told, "response.done")["response"]["status_details"]["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize(
    "blamed",
    [
        {"code": "invalid_value", "event_id": "event_of_long_ago"},
        {"code": "item_create_invalid_role"},
        {"code": "input_audio_buffer_append_failed"},
        {"code": "session_update_failed", "event_id": None},
    ],
)
def test_an_error_about_something_else_is_told_and_costs_no_response(blamed: dict[str, str]) -> None:
    talk = RelayTalk()
    talk.client("response.create")
    assert types(talk.says_upstream("error", error={"message": "No.", **blamed})) == ["error"]
    assert one(talk.answers_upstream(), "response.done")["response"]["status"] == "completed"


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "conversation_already_has_active_response", None])
def test_an_error_that_says_nothing_of_its_event_is_about_the_response_that_was_asked_for(code: str | None) -> None:
    talk = RelayTalk()
    talk.client("response.create")
    told = talk.says_upstream("error", error={"code": code, "message": "No."})
    assert one(told, "response.done")["response"]["status"] == "failed"


def test_a_cancellation_that_came_too_late_costs_the_next_response_nothing() -> None:
    talk = interrupted()
    talk.client("response.cancel")
    talk.ends("completed")
    talk.client("response.create")
    late = {"code": "response_cancel_not_active", "message": "Cancellation failed: no active response found"}
    assert talk.says_upstream("error", error=late) == []
    talk.answers_upstream(number=2)
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_an_incomplete_response_is_incomplete_here(reason: str) -> None:
    talk = RelayTalk()
    talk.says()
    talk.begins()
    ended = talk.ends("incomplete", status_details={"type": "incomplete", "reason": reason})
    assert one(ended, "response.done")["response"]["status_details"]["reason"] == reason


def test_an_upstream_that_never_answers_fails_the_response_and_the_call_goes_on() -> None:
    talk = RelayTalk()
    talk.says()
    told = talk.waits(PATIENCE_S + 0.1)
    assert one(told, "response.done")["response"]["status"] == "failed"
    talk.waits(limits.CANCEL_S)
    talk.says()
    talk.answers_upstream(number=2)
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


def test_an_upstream_that_falls_silent_in_mid_sentence_fails_the_response() -> None:
    talk = RelayTalk()
    talk.says()
    talk.begins()
    talk.speaks("We open", 500)
    talk.waits(PATIENCE_S - 1)
    talk.speaks(" at", 500)
    assert "response.done" not in types(talk.waits(PATIENCE_S - 1)), "it has said something meanwhile"
    assert one(talk.waits(1.1), "response.done")["response"]["status"] == "failed"
    assert talk.asked("response.cancel")


def test_a_response_that_nobody_asked_for_is_cancelled_and_not_heard() -> None:
    talk = RelayTalk()
    talk.says_upstream("response.created", response={"id": "own", "status": "in_progress"})
    assert talk.asked("response.cancel")[0]["response_id"] == "own"
    assert talk.speaks("Hello!", 500, response_id="own") == []
    assert talk.ends(response_id="own") == []


@pytest.mark.parametrize("ending", ["speaks", "ends"])
def test_what_still_comes_of_a_response_that_nobody_asked_for_is_no_part_of_the_next(ending: str) -> None:
    talk = RelayTalk()
    talk.begins("own", "item_own")
    talk.says()
    late = talk.ends("cancelled", "own") if ending == "ends" else talk.speaks("Stale.", 500, "own", "item_own")
    assert late == []
    done = one(talk.answers_upstream("Fresh."), "response.done")["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"][0]["transcript"] == "Fresh."


def test_a_response_that_begins_when_it_was_given_up_does_not_stand_for_the_next() -> None:
    talk = RelayTalk()
    talk.says()
    talk.waits(PATIENCE_S + limits.CANCEL_S + 0.2)
    talk.says()
    first, second = (event["response"]["metadata"] for event in talk.asked("response.create"))
    talk.says_upstream("response.created", response={"id": "late", "metadata": first})
    assert talk.asked("response.cancel")[-1]["response_id"] == "late"
    assert talk.speaks("Stale.", 500, "late", "item_late") == []
    talk.says_upstream("response.created", response={"id": "resp_there_2", "metadata": second})
    talk.speaks("Fresh.", 500, "resp_there_2", "item_there_2")
    done = one(talk.ends(response_id="resp_there_2"), "response.done")["response"]
    assert done["output"][0]["content"][0]["transcript"] == "Fresh."


@pytest.mark.parametrize("metadata", [None, "odd", {"offhook_run": 7}, {"offhook_run": "x" * 50}, {"other": "1"}])
def test_a_response_without_the_metadata_it_was_asked_for_with_is_the_one_that_was_asked_for(metadata: object) -> None:
    talk = RelayTalk()
    talk.client("response.create")
    talk.says_upstream("response.created", response={"id": "resp_there_1", "metadata": metadata})
    assert one(talk.ends(), "response.done")["response"]["status"] == "completed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"type": 7}',
        '{"type": "response.output_audio.delta", "response_id": "resp_there_1", "item_id": "i", "delta": "*"}',
        '{"type": "response.output_audio.delta", "response_id": "resp_there_1", "item_id": 7, "delta": "AA=="}',
        '{"type": "response.done", "response": []}',
        '{"type": "response.done"}',
        '{"type": "error"}',
        '{"type": "error", "error": []}',
        '{"type": "error", "error": {"code": {}}}',
        b"\xff\xfe",
        "[" * 5000,
        '{"type": "conversation.item.input_audio_transcription.completed"}',
        '{"type": "response.output_item.added", "response_id": "resp_there_1", "item": {"type": "function_call"}}',
    ],
)
def test_events_that_are_none_never_end_the_call(text: str | bytes) -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    talk.says()
    talk.begins()
    talk.says_raw(text)
    talk.client("response.cancel")
    talk.ends("cancelled")
    talk.says()
    talk.answers_upstream(number=2)
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


def test_a_response_without_end_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_OUTPUT_ITEMS", 8)
    talk = RelayTalk(tools=[function()])
    talk.client("response.create")
    talk.says_upstream("response.created", response={"id": "r", "status": "in_progress"})
    for number in range(2 * limits.MAX_OUTPUT_ITEMS):
        item = {"id": f"f{number}", "type": "function_call", "name": "opening_hours", "call_id": f"c{number}"}
        talk.says_upstream("response.output_item.added", response_id="r", output_index=number, item=item)
        where = {"response_id": "r", "item_id": f"m{number}", "output_index": number, "content_index": 0}
        talk.says_upstream("response.output_audio_transcript.delta", delta="a ", **where)
        talk.says_upstream("response.output_audio_transcript.done", transcript="a ", **where)
    (run,) = talk.relay._runs
    assert (len(run.calls), len(run.messages)) == (limits.MAX_OUTPUT_ITEMS, limits.MAX_OUTPUT_ITEMS)
    assert one(talk.ends(response_id="r"), "response.done")["response"]["status"] == "completed"


def test_who_sends_nothing_but_nonsense_is_left() -> None:
    talk = RelayTalk()
    for _ in range(limits.MAX_BAD_EVENTS):
        talk.says_raw("{")
    assert len(talk.disconnected) == 1
    assert len(talk.warnings) == 1, "a log is not filled by that"


# -- the connection


def test_a_drop_fails_the_response_in_progress_and_the_next_connection_has_the_history() -> None:
    talk = RelayTalk(audio=TRANSCRIBED, instructions="Be brief.")
    turn = talk.says()
    user_id = one(turn, "input_audio_buffer.committed")["item_id"]
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_0")
    name = "conversation.item.input_audio_transcription.completed"
    talk.says_upstream(name, item_id="item_there_0", transcript="When do you open?")
    talk.answers_upstream("At nine.")
    talk.happens(happened.PlayoutStarted(talk.run))
    talk.happens(happened.PlayoutFinished(talk.run, 2000), after_s=2)
    talk.says()
    talk.begins("resp_there_2", "item_there_2")
    told = talk.lose()
    response = one(told, "response.done")["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "server_error"

    talk.waits(0.1)
    assert len(talk.connects) == 2
    talk.upstream.clear()
    talk.connect()
    assert talk.asked("session.update")[0]["session"]["instructions"] == "Be brief."
    assert "session.created" not in types(talk.sent)
    talk.client("response.create")
    items = [event["item"] for event in talk.asked("conversation.item.create")]
    assert items[0] == {
        "id": user_id,
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "When do you open?"}],
    }
    assert items[1]["role"] == "assistant"
    assert items[1]["content"] == [{"type": "output_text", "text": "At nine."}]
    assert len(talk.asked("input_audio_buffer.commit")) == 1, "the turn whose words nobody knows goes as sound"
    talk.answers_upstream(number=3)
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


def test_a_turn_that_is_spoken_while_there_is_no_connection_is_answered_when_there_is_one() -> None:
    talk = RelayTalk(is_online=False, audio=TRANSCRIBED)
    talk.says()
    assert talk.upstream == []
    talk.connect()
    assert talk.sent_types() == [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "response.create",
    ]
    talk.answers_upstream()
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


def test_attempts_to_connect_wait_longer_and_longer() -> None:
    talk = RelayTalk(is_online=False)
    pauses = []
    for attempt in range(7):
        assert len(talk.connects) == attempt + 1
        talk.lose("refused")
        deadline = talk.relay.next_deadline()
        assert deadline is not None
        pauses.append(deadline - talk.now)
        talk.waits(8.0)
    assert pauses == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0])


def test_an_upstream_that_greets_and_closes_is_not_dialled_without_pause() -> None:
    talk = RelayTalk()
    pauses = []
    for _ in range(6):
        talk.says_upstream("error", error={"code": "insufficient_quota", "message": "Pay."})
        talk.lose("closed with 1000 quota")
        pauses.append((talk.relay.next_deadline() or 0.0) - talk.now)
        talk.waits(8.0)
        talk.connect()
    assert pauses == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0, 8.0])


def test_a_loss_that_is_told_twice_makes_the_pause_no_shorter() -> None:
    talk = RelayTalk(is_online=False)
    talk.lose()
    talk.waits(0.1)
    talk.lose()
    deadline = talk.relay.next_deadline()
    talk.lose()
    assert talk.relay.next_deadline() == deadline


@pytest.mark.parametrize("proof", ["an answer", "some time"])
def test_a_connection_that_was_good_is_opened_again_at_once(proof: str) -> None:
    talk = RelayTalk()
    for _ in range(3):
        talk.lose()
        talk.waits(1.0)
        talk.connect()
    if proof == "an answer":
        talk.client("response.create")
        talk.answers_upstream()
    else:
        talk.waits(limits.PROVEN_S)
    talk.lose()
    assert talk.relay.next_deadline() == pytest.approx(talk.now)


def test_a_response_waits_for_a_connection_and_is_given_up_in_the_end() -> None:
    talk = RelayTalk(is_online=False)
    talk.client("response.create")
    told = talk.waits(PATIENCE_S + 0.1)
    assert one(told, "response.done")["response"]["status"] == "failed"


def test_a_wrong_key_fails_every_response_at_once_and_is_not_tried_again() -> None:
    talk = RelayTalk(is_online=False, audio=TRANSCRIBED)
    talk.client("response.create")
    talk.lose("HTTP 401", is_refused=True)
    talk.client("response.create")
    talk.says()
    failed = [event["response"]["status_details"] for event in talk.sent if event["type"] == "response.done"]
    assert not talk.relay.awaits_words
    assert [each["error"]["message"] for each in failed] == [REFUSED] * 3
    talk.waits(60)
    assert len(talk.connects) == 1


def test_a_session_that_is_not_taken_is_not_tried_again() -> None:
    """Servers that cannot refuse the upgrade say so in an event, and close with 1008."""
    talk = RelayTalk(is_online=False)
    talk._relay_takes(steps.Connected(talk.engine.session))
    talk.says_upstream("error", error={"code": "model_not_found", "message": "No such model."})
    talk.lose("closed with 1008", is_refused=True)
    talk.waits(60)
    assert len(talk.connects) == 1


def test_a_session_that_was_taken_and_is_closed_for_whatever_reason_is_tried_again() -> None:
    talk = RelayTalk()
    talk.lose("closed with 1008", is_refused=True)
    talk.waits(1)
    assert len(talk.connects) == 2


def test_errors_that_repeat_are_told_a_few_times() -> None:
    talk = RelayTalk()
    for _ in range(100):
        talk.says_upstream("error", error={"code": "odd", "message": "Again."})
    assert len([event for event in talk.sent if event["type"] == "error"]) == limits.MAX_ERRORS_TOLD
    talk.lose()
    talk.waits(0.1)
    talk.connect()
    talk.says_upstream("error", error={"code": "odd", "message": "Again."})
    assert len([event for event in talk.sent if event["type"] == "error"]) == limits.MAX_ERRORS_TOLD


def test_nothing_is_due_after_the_end() -> None:
    talk = RelayTalk()
    talk.client("response.create")
    talk.relay.close()
    assert talk.relay.next_deadline() is None
    assert talk.lose() == []


def test_what_is_kept_of_turns_without_a_connection_is_bounded() -> None:
    talk = RelayTalk(is_online=False, audio=TRANSCRIBED)
    for _ in range(5):
        talk.says(60_000)
    failed = [event for event in talk.sent if event["type"].endswith("input_audio_transcription.failed")]
    assert len(failed) == 3, "131 seconds fit, which are two turns"


@pytest.mark.parametrize(("dialect", "turn_ms"), [("openai", 70_000), ("linear", 12_000)])
def test_a_long_turn_whose_words_nobody_knows_goes_to_the_next_connection(
    dialect: str, turn_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = replace(DIALECTS["openai"], formats=frozenset(("audio/pcm",)))
    monkeypatch.setitem(DIALECTS, "linear", linear)
    talk = type("Talk", (RelayTalk,), {"dialect": dialect})(audio=TRANSCRIBED)
    talk.says(turn_ms)
    talk.lose()
    talk.waits(0.1)
    talk.upstream.clear()
    talk.connect()
    assert len(talk.asked("input_audio_buffer.commit")) == 1
    assert talk.relay.awaits_words


def test_of_speech_without_end_a_bounded_part_is_streamed_and_kept() -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    talk.happens(happened.VoiceStarted(0))
    talk.waits(400)
    assert len(talk.audio_sent()) <= (limits.MAX_STREAM_MS + 1000) * 8
    stream = talk.relay._turns._stream
    assert stream is not None
    assert len(stream.sent or b"") <= limits.MAX_KEPT_AUDIO_BYTES
    told = talk.happens(happened.VoiceStopped(399_500, 400_000))
    assert len(talk.asked("input_audio_buffer.commit")) == 1
    item_id = one(told, "input_audio_buffer.committed")["item_id"]
    assert one(talk.lose(), f"{WORDS}.failed")["item_id"] == item_id


def test_the_end_of_a_turn_of_which_the_line_has_no_more_is_sent() -> None:
    post = Post(Ids(lambda size: "u" * size))
    turns = Turns(DIALECTS["openai"], "audio/pcm", post, Mirror())
    turns.begin(0, 0.0)
    end_ms, kept_ms = 130_000, 20_000
    turns.grow(steps.SpokenSoFar(0, bytes(120_060 * 48), 24_000))
    post.take_all()
    turns.take(steps.TurnSpoken("item", 0, end_ms, b"\1\1" * 24 * kept_ms, 24_000, True), is_online=True)
    sent = [json.loads(each.text) for each in post.take_all() if isinstance(each, steps.SendUpstream)]
    audio = b"".join(base64.b64decode(each["audio"]) for each in sent if "audio" in each)
    assert audio == b"\1\1" * 24 * 10_000


def test_a_turn_that_is_not_kept_and_whose_words_did_not_come_has_a_failed_transcript() -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    for number in (1, 2):
        talk.says(50_000)
        talk.answers_upstream(number=number)
    told = talk.lose()
    first, _ = (each["item_id"] for each in talk.sent if each["type"] == "input_audio_buffer.committed")
    assert one(told, f"{WORDS}.failed")["item_id"] == first
    talk.waits(0.1)
    talk.connect()
    talk.says_upstream(f"{WORDS}.completed", item_id="item_there_9", transcript="When?")
    assert not talk.relay.awaits_words


def test_a_cut_answer_is_told_as_it_was_heard_after_a_new_connection() -> None:
    talk = interrupted()
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(talk.run, 940))
    talk.lose()
    talk.connect()
    talk.upstream.clear()
    talk.client("response.create")
    said = [event["item"] for event in talk.asked("conversation.item.create") if event["item"]["role"] == "assistant"]
    assert [item["content"][0]["text"] for item in said] == ["one two"]


def test_no_key_and_no_url_is_in_what_is_sent() -> None:
    talk = RelayTalk()
    talk.says()
    assert "authorization" not in json.dumps(talk.upstream).lower()


# -- the end of everything


def test_the_keypad_and_the_playout_are_told_from_here() -> None:
    talk = RelayTalk()
    assert types(talk.happens(happened.DigitPressed("5", 1_700_000_000))) == ["input_audio_buffer.dtmf_event_received"]
    talk.says()
    talk.answers_upstream()
    assert types(talk.happens(happened.PlayoutStarted(talk.run))) == ["output_audio_buffer.started"]
    assert types(talk.happens(happened.PlayoutFinished(talk.run, 2000))) == ["output_audio_buffer.stopped"]


def test_the_tokens_that_upstream_tells_of_a_transcript_are_those_that_are_told_here() -> None:
    talk = RelayTalk(audio=TRANSCRIBED)
    usage = {"type": "tokens", "total_tokens": 22, "input_tokens": 13, "output_tokens": 9}
    for number, (given, told) in enumerate([(usage, usage), ({"type": "duration", "seconds": 7}, None), ("odd", None)]):
        talk.says(1000)
        there = f"item_heard_{number}"
        talk.says_upstream("input_audio_buffer.committed", item_id=there, previous_item_id=None)
        events = talk.says_upstream(
            f"{WORDS}.completed", item_id=there, content_index=0, transcript="When?", usage=given
        )
        shown = one(events, f"{WORDS}.completed")["usage"]
        assert shown == told if told is not None else shown["type"] == "duration"
        talk.answers_upstream(number=number + 1)
