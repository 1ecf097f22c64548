"""Responses in the exact orders of the API: text, function calls, failures, out of band."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.talk import (
    RESPONSE_END,
    SPOKEN_ITEM,
    SPOKEN_ITEM_END,
    SocketTalk,
    Talk,
    error,
    function,
    one,
    said_by_assistant,
    types,
)

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.session.usage import item_tokens
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputAudio, InputText, Message, OutputAudio, OutputText

# -- text


def test_a_greeting_is_spoken_on_demand() -> None:
    talk = Talk()
    talk.client("response.create", response={"instructions": "Say hello."})
    assert talk.generate().instructions == "Say hello."
    assert types(talk.answers("Hello!")) == SPOKEN_ITEM + SPOKEN_ITEM_END + RESPONSE_END


def test_a_written_answer_has_text_events_only() -> None:
    talk = Talk(output_modalities=["text"])
    added = talk.client(
        "conversation.item.create",
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    )
    assert types(added) == ["conversation.item.added", "conversation.item.done"]
    talk.client("response.create")
    run = talk.generate().run
    events = talk.happens(happened.TextProduced(run, "Hello.")) + talk.happens(happened.GenerationFinished(run))
    assert types(events) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        *RESPONSE_END,
    ]
    assert one(events, "response.done")["response"]["output"][0]["content"] == [
        {"type": "output_text", "text": "Hello."}
    ]
    assert talk.count(do.Play) == 0


def test_overrides_hold_for_one_response_only() -> None:
    talk = Talk(tools=[function()], max_output_tokens=100)
    talk.client("response.create", response={"tools": [], "max_output_tokens": 5, "tool_choice": "none", "input": []})
    request = talk.generate()
    assert (request.tools, request.max_output_tokens, request.tool_choice, request.items) == ((), 5, "none", ())
    talk.answers()
    talk.client("response.create")
    assert talk.generate().max_output_tokens == 100
    assert len(talk.generate().tools) == 1


def test_a_response_keeps_the_settings_it_started_with() -> None:
    talk = Talk()
    talk.says()
    talk.client("session.update", session={"type": "realtime", "max_output_tokens": 7})
    assert one(talk.answers(), "response.done")["response"]["max_output_tokens"] == "inf"


# -- function calls


def test_a_function_call_and_its_answer() -> None:
    talk = Talk(tools=[function()])
    talk.says()
    run = talk.generate().run
    events = talk.happens(happened.ToolCallStarted(run, 0, "opening_hours"))
    events += talk.happens(happened.ToolArgumentsProduced(run, 0, '{"day":'))
    events += talk.happens(happened.ToolArgumentsProduced(run, 0, '"monday"}'))
    events += talk.happens(happened.GenerationFinished(run))
    assert types(events) == [
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
        *RESPONSE_END,
    ]
    call = one(events, "response.done")["response"]["output"][0]
    assert call["arguments"] == '{"day":"monday"}'
    assert call["status"] == "completed"
    added = talk.client(
        "conversation.item.create",
        item={"type": "function_call_output", "call_id": call["call_id"], "output": "nine to five"},
    )
    assert types(added) == ["conversation.item.added", "conversation.item.done"]
    assert talk.count(do.Generate) == 1, "the server does not answer by itself"
    talk.client("response.create")
    assert [type(item).__name__ for item in talk.generate().items] == ["Message", "FunctionCall", "FunctionCallOutput"]


def test_words_before_a_call_are_an_item_of_their_own() -> None:
    talk = Talk(tools=[function()])
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "One moment."))
    talk.audio(run, 800, "One moment.")
    events = talk.happens(happened.ToolCallStarted(run, 0, "opening_hours", "call_a"))
    assert types(events) == [*SPOKEN_ITEM_END, "response.output_item.added", "conversation.item.added"]
    events = talk.happens(happened.ToolCallStarted(run, 1, "opening_hours", "call_b"))
    assert events[0]["type"] == "response.function_call_arguments.done"
    response = one(talk.happens(happened.GenerationFinished(run)), "response.done")["response"]
    assert [item["type"] for item in response["output"]] == ["message", "function_call", "function_call"]
    assert [item["call_id"] for item in response["output"][1:]] == ["call_a", "call_b"]
    assert response["output"][1]["arguments"] == "{}"


def call_after_words(talk: Talk, words: str = "One moment, please.") -> int:
    """The model writes some words and a whole function call before the voice has said anything."""
    talk.client("response.create")
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, words))
    talk.happens(happened.ToolCallStarted(run, 0, "opening_hours", "call_a"))
    talk.happens(happened.ToolArgumentsProduced(run, 0, "{}"))
    return run


def test_the_sound_of_words_before_a_call_makes_no_second_message() -> None:
    talk = Talk(tools=[function()])
    run = call_after_words(talk)
    assert talk.audio(run, 800, "One moment, please.") == []
    assert talk.audio(run, 800) == []
    response = one(talk.happens(happened.GenerationFinished(run)), "response.done")["response"]
    assert [item["type"] for item in response["output"]] == ["message", "function_call"]
    assert response["usage"]["output_token_details"]["audio_tokens"] == 1600 // 50
    assert talk.count(do.Play) == 2


def test_barge_in_cuts_the_words_before_a_call_where_they_were_heard() -> None:
    talk = Talk(tools=[function()])
    run = call_after_words(talk, "one two three four")
    talk.audio(run, 2000, "one two three four")
    talk.happens(happened.PlayoutStarted(run))
    talk.happens(happened.VoiceStarted(1000), after_s=1)
    events = talk.happens(happened.PlayoutStopped(run, 1000))
    assert said_by_assistant(talk) == ["one two"]
    message, call = one(events, "response.done")["response"]["output"]
    assert (message["status"], message["content"][0]["transcript"]) == ("incomplete", "one two")
    assert (call["type"], call["status"]) == ("function_call", "incomplete")
    truncated = one(events, "conversation.item.truncated")
    assert (truncated["item_id"], truncated["audio_end_ms"]) == (message["id"], 1000)


def two_messages(talk: Talk, *, voice_is_late: bool) -> int:
    """A model that says something, calls a function, and says something else: 1,000 ms each."""
    run = call_after_words(talk, "one two ")
    if voice_is_late:
        talk.happens(happened.TextProduced(run, "three four"))
    talk.happens(happened.AudioProduced(run, b"", 8000, 1000, "one two ", message=0))
    if not voice_is_late:
        talk.happens(happened.TextProduced(run, "three four"))
    talk.happens(happened.AudioProduced(run, b"", 8000, 1000, "three four", message=1))
    return run


@pytest.mark.parametrize("voice_is_late", [True, False])
@pytest.mark.parametrize(
    ("played_ms", "said", "cut_ms"),
    [(500, ["one", ""], [500, 0]), (1000, ["one two ", ""], [0]), (1500, ["one two ", "three"], [500])],
)
def test_barge_in_cuts_the_message_that_was_being_heard(
    voice_is_late: bool, played_ms: int, said: list[str], cut_ms: list[int]
) -> None:
    talk = Talk(tools=[function()])
    run = two_messages(talk, voice_is_late=voice_is_late)
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.PlayoutStarted(run))
    talk.happens(happened.VoiceStarted(played_ms), after_s=played_ms / 1000)
    events = talk.happens(happened.PlayoutStopped(run, played_ms))
    assert said_by_assistant(talk) == said
    cut = [event["audio_end_ms"] for event in events if event["type"] == "conversation.item.truncated"]
    assert cut == cut_ms


def test_a_client_truncates_one_of_two_messages_by_its_own_sound() -> None:
    talk = Talk(tools=[function()])
    run = two_messages(talk, voice_is_late=False)
    done = one(talk.happens(happened.GenerationFinished(run)), "response.done")["response"]
    first, _, second = (item["id"] for item in done["output"])

    def truncate(item_id: str, end_ms: int) -> list[dict[str, Any]]:
        return talk.client("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=end_ms)

    assert error(truncate(first, 1001))["param"] == "audio_end_ms"
    assert one(truncate(second, 500), "conversation.item.truncated")["item_id"] == second
    assert said_by_assistant(talk) == ["one two ", "three"]


def test_a_function_call_is_whole_before_the_voice_has_ended() -> None:
    """A spoken filler must not hold up the function that it covers."""
    talk = Talk(tools=[function()])
    run = call_after_words(talk)
    assert types(talk.happens(happened.WordsFinished(run))) == [
        "response.function_call_arguments.done",
        "conversation.item.done",
        "response.output_item.done",
    ]
    assert talk.audio(run, 800, "One moment, please.") == []
    assert types(talk.happens(happened.GenerationFinished(run))) == RESPONSE_END
    assert types(talk.happens(happened.PlayoutFinished(run, 800))) == ["output_audio_buffer.stopped"]


def test_a_spoken_answer_stays_open_until_its_voice_has_ended() -> None:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "We open at nine."))
    assert talk.happens(happened.WordsFinished(run)) == []
    talk.audio(run, 800, "We open at nine.")
    assert types(talk.happens(happened.GenerationFinished(run))) == SPOKEN_ITEM_END + RESPONSE_END


def test_blank_text_before_a_call_is_no_message() -> None:
    talk = Talk(tools=[function()])
    run = call_after_words(talk, "\n\n")
    response = one(talk.happens(happened.GenerationFinished(run)), "response.done")["response"]
    assert [item["type"] for item in response["output"]] == ["function_call"]


def test_an_output_for_a_call_that_never_was_is_refused() -> None:
    item = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
    assert error(Talk().client("conversation.item.create", item=item))["code"] == "invalid_tool_call_id"


# -- models that fail


def test_a_model_that_fails_ends_its_response_and_the_call_goes_on() -> None:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.audio(run, 300, "Well, ")
    events = talk.happens(happened.GenerationFailed(run, "model_unavailable", "The model does not answer."))
    response = one(events, "response.done")["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"] == {
        "type": "server_error",
        "code": "model_unavailable",
        "message": "The model does not answer.",
    }
    assert "response.created" in types(talk.says())


def test_a_model_stopped_by_the_token_limit_is_incomplete() -> None:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "And so"))
    events = talk.happens(happened.GenerationFinished(run, "max_output_tokens"))
    response = one(events, "response.done")["response"]
    assert (response["status"], response["output"][0]["status"]) == ("incomplete", "incomplete")
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


def test_a_late_word_of_an_ended_generation_is_ignored() -> None:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.answers()
    for late in (
        happened.TextProduced(run, "x"),
        happened.AudioProduced(run, b"", 8000, 0),
        happened.GenerationFinished(run),
        happened.GenerationFailed(run, "a", "b"),
        happened.ToolCallStarted(run, 0, "f"),
        happened.PlayoutStarted(99),
    ):
        assert talk.happens(late) == []


def test_beyond_the_token_budget_a_response_fails_with_the_known_code() -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=False, tokens_per_minute=10))
    talk.says()
    limits = one(talk.answers(), "rate_limits.updated")["rate_limits"][0]
    assert (limits["name"], limits["limit"], limits["remaining"], limits["reset_seconds"]) == ("tokens", 10, 0, 60.0)
    failed = one(talk.client("response.create"), "response.done")["response"]
    assert failed["status_details"]["error"]["code"] == "rate_limit_exceeded"
    talk.now += 61
    assert types(talk.client("response.create")) == ["response.created"]


def test_all_that_the_model_reads_counts_as_input() -> None:
    items = [
        Message(role="user", content=(InputText(text="x" * 40),)),
        Message(role="assistant", content=(OutputText(text="x" * 400),)),
        Message(role="assistant", content=(OutputAudio(transcript="x" * 80),)),
        FunctionCall(name="lookup", arguments='{"a":""}', call_id="c1"),
        FunctionCallOutput(call_id="c1", output="x" * 12),
    ]
    assert [item_tokens(item, 0).text for item in items] == [10, 100, 20, 4, 3]


# -- out of band


def test_an_out_of_band_response_leaves_the_conversation_alone() -> None:
    talk = Talk()
    talk.says()
    active = talk.generate().run
    response = {"conversation": "none", "metadata": {"topic": "class"}, "output_modalities": ["text"], "input": []}
    created = one(talk.client("response.create", response=response), "response.created")["response"]
    assert created["conversation_id"] is None
    assert created["metadata"] == {"topic": "class"}
    run = talk.generate().run
    assert run != active
    events = talk.happens(happened.TextProduced(run, "sales")) + talk.happens(happened.GenerationFinished(run))
    assert not [each for each in types(events) if each.startswith("conversation.")]


def test_the_callers_voice_does_not_cancel_an_out_of_band_response() -> None:
    talk = Talk()
    talk.client("response.create", response={"conversation": "none", "output_modalities": ["text"]})
    run = talk.generate().run
    talk.happens(happened.VoiceStarted(500))
    assert talk.count(do.CancelGeneration) == 0
    assert types(talk.happens(happened.GenerationFinished(run)))[0] == "response.done"


def test_a_reference_to_a_missing_item_is_refused_before_anything_begins() -> None:
    talk = Talk()
    response = {"conversation": "none", "input": [{"type": "item_reference", "id": "item_x"}]}
    assert error(talk.client("response.create", response=response))["param"] == "response.input[0].id"
    assert types(talk.client("response.create")) == ["response.created"]


SOUND = {"type": "input_audio", "audio": "AAAA"}


@pytest.mark.parametrize("talk", [Talk, SocketTalk])
@pytest.mark.parametrize(
    ("role", "part", "param"),
    [
        ("user", SOUND, "response.input[1].content[1]"),
        ("user", SOUND | {"transcript": None}, "response.input[1].content[1]"),
        ("user", {"type": "input_audio", "audio": "!!", "transcript": "Hello"}, "response.input[1].content[1].audio"),
        ("user", {"type": "output_text", "text": "Hello"}, "response.input[1].content[1].type"),
        ("system", SOUND | {"transcript": "Hello"}, "response.input[1].content[1].type"),
        ("assistant", {"type": "output_audio"}, "response.input[1].content[1].type"),
    ],
)
def test_what_no_model_could_read_of_an_input_is_refused_by_name(
    talk: type[Talk], role: str, part: dict[str, Any], param: str
) -> None:
    one_talk = talk()
    first = {"type": "output_text" if role == "assistant" else "input_text", "text": "Say what you hear."}
    given = [
        {"type": "message", "role": role, "content": [first]},
        {"type": "message", "role": role, "content": [first, part]},
    ]
    refused = error(one_talk.client("response.create", response={"conversation": "none", "input": given}))
    assert (refused["code"], refused["param"]) == ("invalid_value", param)
    assert one_talk.count(do.Generate) == 0


def test_the_words_of_audio_can_be_an_input() -> None:
    talk = Talk()
    given = [
        {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Yes?"}]},
        {"type": "message", "role": "user", "content": [SOUND | {"transcript": "Hello"}]},
    ]
    talk.client("response.create", response={"input": given})
    said = [item.content for item in talk.generate().items if isinstance(item, Message)]
    assert said == [(OutputAudio(transcript="Yes?"),), (InputAudio(transcript="Hello"),)]
