"""The conversation, in the exact orders of the API: turns, barge-in, tools, cancelling, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.core.talk import Talk, one, types

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.conversation import Conversation
from offhook.session.engine import EngineOptions
from offhook.session.settings import WITHOUT_EFFECT, without_effect
from offhook.session.usage import item_tokens
from offhook.wire import limits
from offhook.wire.decode import decode_session
from offhook.wire.items import FunctionCall, FunctionCallOutput, InputText, Message, OutputAudio, OutputText
from offhook.wire.session import SessionParams

SPOKEN_ITEM = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
]
SPOKEN_ITEM_END = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
]
RESPONSE_END = ["response.done", "rate_limits.updated"]


def function(name: str = "opening_hours") -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}


def error(events: list[dict[str, Any]]) -> dict[str, Any]:
    assert types(events) == ["error"]
    details: dict[str, Any] = events[0]["error"]
    assert set(details) == {"type", "code", "message", "param", "event_id"}
    return details


# -- starting


def test_a_sideband_hears_nothing_before_it_asks() -> None:
    assert Talk().sent == []


def test_an_update_is_answered_with_the_whole_session() -> None:
    talk = Talk(instructions="Be brief.")
    events = talk.client("session.update", session={"type": "realtime", "audio": {"output": {"speed": 1.25}}})
    session = one(events, "session.updated")["session"]
    assert session["instructions"] == "Be brief."
    assert session["audio"]["output"] == {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.25}
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    for member in ("tracing", "prompt", "include"):
        assert session[member] is None
    for member in ("transcription", "noise_reduction"):
        assert session["audio"]["input"][member] is None


def test_default_instructions_are_visible_and_an_empty_text_clears_them() -> None:
    shown = one(Talk().client("session.update", session={"type": "realtime"}), "session.updated")["session"]
    assert "telephone" in shown["instructions"]
    cleared = Talk(instructions="").client("session.update", session={"type": "realtime"})
    assert one(cleared, "session.updated")["session"]["instructions"] == ""


def test_the_negotiated_codec_wins_over_a_format_in_an_update() -> None:
    update = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}}
    events = Talk().client("session.update", session=update, event_id="e1")
    assert one(events, "session.updated")["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}


def test_an_update_with_tools_leaves_the_codec_alone() -> None:
    """Users' complaint: adding tools reset the codec and turned the call to static."""
    talk = Talk()
    events = talk.client("session.update", session={"type": "realtime", "tools": [function()], "model": "gpt-realtime"})
    session = one(events, "session.updated")["session"]
    assert session["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    assert session["tools"] == [function()]
    assert talk.count(do.ConfigureTurns) == 1


def test_an_update_is_done_wholly_or_not_at_all() -> None:
    talk = Talk()
    talk.says()
    talk.answers()
    update = {"type": "realtime", "instructions": "New.", "audio": {"output": {"voice": "ash"}}}
    assert error(talk.client("session.update", session=update, event_id="e7")) == {
        "type": "invalid_request_error",
        "code": "cannot_update_voice",
        "message": "Cannot update a conversation's voice if assistant audio is present.",
        "param": "session.audio.output.voice",
        "event_id": "e7",
    }
    session = one(talk.client("session.update", session={"type": "realtime"}), "session.updated")["session"]
    assert session["instructions"] != "New."


def test_another_model_is_refused_and_the_same_one_passes() -> None:
    talk = Talk(model="my-model")
    refused = error(talk.client("session.update", session={"type": "realtime", "model": "other"}))
    assert (refused["code"], refused["param"]) == ("invalid_value", "session.model")
    assert types(talk.client("session.update", session={"type": "realtime", "model": "my-model"})) == [
        "session.updated"
    ]


def test_a_turn_is_heard_early_in_a_pause_and_under_the_same_item_at_its_end() -> None:
    talk = Talk(audio={"input": {"transcription": {"model": "x"}}})
    talk.happens(happened.VoiceStarted(1000))
    talk.happens(happened.VoicePaused(2000, 2160), after_s=2.2)
    early = talk.last(do.HearEarly)
    assert (early.start_ms, early.end_ms, early.transcription.model) == (700, 2160, "x")
    assert talk.happens(happened.VoiceStopped(2000, 2500), after_s=0.3)
    heard = talk.last(do.Hear)
    assert (heard.item_id, heard.start_ms, heard.end_ms) == (early.item_id, 700, 2500)
    assert talk.count(do.DropEarly) == 0


@pytest.mark.parametrize("how", ["resumed", "cleared", "switched off"])
def test_what_was_heard_early_is_dropped_when_it_was_not_the_end(how: str) -> None:
    talk = Talk()
    talk.happens(happened.VoiceStarted(1000))
    talk.happens(happened.VoicePaused(2000, 2160), after_s=2.2)
    match how:
        case "resumed":
            talk.happens(happened.VoiceResumed())
        case "cleared":
            talk.client("input_audio_buffer.clear")
        case "switched off":
            update = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            talk.client("session.update", session=update)
    assert talk.count(do.DropEarly) == 1


def test_a_pause_outside_of_a_turn_is_nothing() -> None:
    talk = Talk()
    assert talk.happens(happened.VoicePaused(340, 500)) == []
    assert talk.happens(happened.VoiceResumed()) == []
    assert talk.count(do.HearEarly) == talk.count(do.DropEarly) == 0


def test_the_first_update_names_the_model_when_accept_named_none() -> None:
    """Agents send their model with the first update, after an accept without one."""
    talk = Talk()

    def update(**members: str) -> list[dict[str, Any]]:
        return talk.client("session.update", session={"type": "realtime", **members})

    assert one(update(instructions="Be brief."), "session.updated")["session"]["model"] == "gpt-realtime"
    assert one(update(model="gpt-realtime-2.1"), "session.updated")["session"]["model"] == "gpt-realtime-2.1"
    talk.client("response.create")
    assert talk.generate().model == "gpt-realtime-2.1"
    assert error(update(model="gpt-realtime"))["param"] == "session.model", "from then on it is chosen"
    assert error(Talk(model="gpt-realtime").client("session.update", session={"type": "realtime", "model": "x"}))


def test_a_refused_update_chooses_no_model() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.answers()
    update = {"type": "realtime", "model": "other", "audio": {"output": {"voice": "ash"}}}
    assert error(talk.client("session.update", session=update))["code"] == "cannot_update_voice"
    assert types(talk.client("session.update", session={"type": "realtime", "model": "mine"})) == ["session.updated"]


def test_a_strict_server_takes_only_its_own_models_in_an_update() -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=False, strict_models=frozenset({"mine"})))
    refused = error(talk.client("session.update", session={"type": "realtime", "model": "other"}))
    assert (refused["code"], refused["param"]) == ("model_not_found", "session.model")
    assert types(talk.client("session.update", session={"type": "realtime", "model": "mine"})) == ["session.updated"]
    default = {"type": "realtime", "model": "gpt-realtime"}
    talk = Talk(options=EngineOptions(needs_transcripts=False, strict_models=frozenset({"mine"})))
    assert types(talk.client("session.update", session=default)) == ["session.updated"], "an equal value always passes"


def test_null_turns_detection_and_transcription_off() -> None:
    talk = Talk(audio={"input": {"transcription": {"model": "whisper-1"}}})
    update = {"type": "realtime", "audio": {"input": {"turn_detection": None, "transcription": None}}}
    session = one(talk.client("session.update", session=update), "session.updated")["session"]
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["transcription"] is None
    assert talk.last(do.ConfigureTurns).turn_detection is None


def test_members_of_the_same_turn_detection_are_kept_when_absent() -> None:
    talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}})
    update = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}}}
    session = one(talk.client("session.update", session=update), "session.updated")["session"]
    detection = session["audio"]["input"]["turn_detection"]
    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.7, 900)


def test_mcp_secrets_are_never_echoed() -> None:
    tool = {"type": "mcp", "server_label": "crm", "server_url": "https://x.example", "authorization": "top secret"}
    events = Talk().client("session.update", session={"type": "realtime", "tools": [tool]})
    assert "top secret" not in json.dumps(events)


def test_members_without_effect_are_members_of_a_session() -> None:
    assert set(WITHOUT_EFFECT) <= set(SessionParams.__struct_fields__)
    given = {"type": "realtime", "reasoning": {"effort": "low"}, "instructions": "Be brief."}
    assert without_effect(decode_session(json.dumps(given).encode())) == ["reasoning"]
    assert without_effect(decode_session(b'{"type": "realtime", "tracing": null}')) == []


def test_noise_reduction_is_asked_for_when_it_is_wanted_and_when_it_changes() -> None:
    near = {"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}
    talk = Talk(**near)
    assert talk.last(do.ReduceNoise).noise_reduction.strength == 1
    talk.client("session.update", session={"type": "realtime", **near})
    talk.client("session.update", session={"type": "realtime", "instructions": "Be brief."})
    assert talk.count(do.ReduceNoise) == 1, "nothing has changed"
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"noise_reduction": None}}})
    assert talk.last(do.ReduceNoise).noise_reduction is None
    assert Talk().count(do.ReduceNoise) == 0


# -- a turn


def test_a_spoken_turn_is_answered_in_the_order_of_live_traffic() -> None:
    talk = Talk(audio={"input": {"transcription": {"model": "whisper-1"}}})
    talk.now += 2
    turn = talk.says(1500)
    assert types(turn) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    started, stopped, committed, added, _, created = turn
    user_id = started["item_id"]
    assert started["audio_start_ms"] == 2000 - 300
    assert stopped["audio_end_ms"] == 2000 + 1500 + 500
    assert (stopped["item_id"], committed["item_id"], added["item"]["id"]) == (user_id, user_id, user_id)
    assert committed["previous_item_id"] is None
    assert added["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert created["response"]["status"] == "in_progress"
    assert created["response"]["usage"] is None
    assert created["response"]["output"] == []

    run = talk.generate().run
    said = talk.happens(happened.TextProduced(run, "We open "))
    assert types(said) == SPOKEN_ITEM
    assert one(said, "conversation.item.added")["previous_item_id"] == user_id
    talk.audio(run, 500, "We open ")
    assert types(talk.happens(happened.PlayoutStarted(run))) == ["output_audio_buffer.started"]
    assert types(talk.happens(happened.TextProduced(run, "at nine."))) == ["response.output_audio_transcript.delta"]
    talk.audio(run, 500, "at nine.")
    ended = talk.happens(happened.GenerationFinished(run))
    assert types(ended) == SPOKEN_ITEM_END + RESPONSE_END
    response = one(ended, "response.done")["response"]
    assert response["status"] == "completed"
    assert response["status_details"] is None
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": "We open at nine."}]
    assert response["usage"]["output_token_details"]["audio_tokens"] == 20
    assert response["usage"]["input_token_details"]["audio_tokens"] == 23
    assert response["usage"]["total_tokens"] == response["usage"]["input_tokens"] + response["usage"]["output_tokens"]

    completed = talk.happens(happened.TranscriptCompleted(user_id, "When do you open?", 1.5))
    assert one(completed, "conversation.item.input_audio_transcription.completed")["transcript"] == "When do you open?"
    stopped_playing = talk.happens(happened.PlayoutFinished(run, 1000))
    assert stopped_playing == [
        {
            "type": "output_audio_buffer.stopped",
            "event_id": stopped_playing[0]["event_id"],
            "response_id": response["id"],
        }
    ]


def test_audio_is_queued_for_the_caller_and_never_sent_to_a_sideband() -> None:
    talk = Talk()
    talk.says()
    talk.answers(ms=40)
    assert talk.last(do.Play).pcm == bytes(40 * 48)
    assert "response.output_audio.delta" not in types(talk.sent)
    assert talk.done.index(talk.last(do.Play)) < talk.done.index(talk.last(do.FinishPlayout))


def test_without_create_response_a_turn_is_committed_and_not_answered() -> None:
    talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    assert types(talk.says())[-1] == "conversation.item.done"
    assert talk.count(do.Generate) == 0
    assert types(talk.client("response.create")) == ["response.created"]


def test_transcripts_are_only_reported_when_asked_for_but_the_model_reads_them() -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=True))
    talk.says()
    assert talk.count(do.Generate) == 0
    item_id = talk.last(do.Hear).item_id
    assert talk.happens(happened.TranscriptCompleted(item_id, "Hello?", 1.0)) == []
    message = talk.generate().items[0]
    assert message.content[0].transcript == "Hello?"  # type: ignore[union-attr]


def test_a_response_goes_on_without_words_when_the_recogniser_fails() -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=True), audio={"input": {"transcription": {"model": "x"}}})
    talk.says()
    item_id = talk.last(do.Hear).item_id
    failed = talk.happens(happened.TranscriptFailed(item_id, "stt_down", "The recogniser does not answer."))
    assert one(failed, "conversation.item.input_audio_transcription.failed")["error"]["code"] == "stt_down"
    assert talk.count(do.Generate) == 1


def test_transcription_deltas_come_with_padding_and_without_logprobs_unless_included() -> None:
    talk = Talk(audio={"input": {"transcription": {"model": "whisper-1"}}})
    talk.says()
    item_id = talk.last(do.Hear).item_id
    delta = one(
        talk.happens(happened.TranscriptGrew(item_id, "Hel")), "conversation.item.input_audio_transcription.delta"
    )
    assert delta["delta"] == "Hel"
    assert delta["obfuscation"]
    assert "logprobs" not in delta


# -- manual turns


def test_a_manual_turn_is_committed_by_the_client_and_answered_on_demand() -> None:
    talk = Talk(audio={"input": {"turn_detection": None}})
    talk.now += 1.5
    assert talk.happens(happened.VoiceStarted(200)) == []
    committed = talk.client("input_audio_buffer.commit")
    assert types(committed) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    assert (talk.last(do.Hear).start_ms, talk.last(do.Hear).end_ms) == (0, 1500)
    assert talk.count(do.Generate) == 0
    assert types(talk.client("response.create")) == ["response.created"]


def test_push_to_talk_begins_where_the_buffer_was_cleared() -> None:
    talk = Talk(audio={"input": {"turn_detection": None}})
    talk.now += 5
    assert types(talk.client("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    talk.now += 2
    talk.client("input_audio_buffer.commit")
    assert (talk.last(do.Hear).start_ms, talk.last(do.Hear).end_ms) == (5000, 7000)


def speaking_talk() -> tuple[Talk, str]:
    """A caller who began to speak at 1,000 ms and goes on."""
    talk = Talk()
    talk.now += 1
    return talk, one(talk.happens(happened.VoiceStarted(1000)), "input_audio_buffer.speech_started")["item_id"]


def test_a_commit_in_mid_speech_keeps_the_rest_of_the_turn() -> None:
    talk, first = speaking_talk()
    talk.now += 2
    committed = talk.client("input_audio_buffer.commit")
    assert one(committed, "input_audio_buffer.committed")["item_id"] == first
    rest = talk.happens(happened.VoiceStopped(4500, 5000), after_s=2)
    assert types(rest) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert rest[0]["item_id"] == rest[1]["item_id"] != first
    assert rest[1]["previous_item_id"] == first
    heard = [(each.start_ms, each.end_ms) for each in talk.done if isinstance(each, do.Hear)]
    assert heard == [(700, 3000), (3000, 5000)]


def test_a_clear_in_mid_speech_keeps_the_rest_of_the_turn() -> None:
    talk, first = speaking_talk()
    talk.now += 2
    assert types(talk.client("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert talk.happens(happened.VoiceStarted(3100)) == [], "the caller has not stopped"
    rest = talk.happens(happened.VoiceStopped(4500, 5000), after_s=2)
    assert types(rest)[-1] == "response.created"
    assert one(rest, "input_audio_buffer.committed")["item_id"] != first
    heard = [(each.start_ms, each.end_ms) for each in talk.done if isinstance(each, do.Hear)]
    assert heard == [(3000, 5000)]


@pytest.mark.parametrize("verb", ["commit", "clear"])
def test_when_the_caller_had_stopped_by_then_there_is_no_rest_to_answer(verb: str) -> None:
    talk, _ = speaking_talk()
    talk.now += 2
    talk.client(f"input_audio_buffer.{verb}")
    items = len(talk.engine.conversation)
    assert types(talk.happens(happened.VoiceStopped(2900, 3400), after_s=0.4)) == ["input_audio_buffer.speech_stopped"]
    assert (len(talk.engine.conversation), talk.count(do.Generate)) == (items, 0)
    assert types(talk.says())[-1] == "response.created"


def test_an_empty_commit_is_refused_with_the_known_code() -> None:
    talk = Talk()
    talk.now += 0.05
    refused = error(talk.client("input_audio_buffer.commit", event_id="e1"))
    assert (refused["code"], refused["event_id"]) == ("input_audio_buffer_commit_empty", "e1")
    assert refused["message"].endswith("but buffer only has 50.00ms of audio.")


def test_append_is_refused_on_a_telephone_call() -> None:
    assert error(Talk().client("input_audio_buffer.append", audio="AAAA"))["code"] == "invalid_value"


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


# -- barge-in


def said_by_assistant(talk: Talk) -> list[str]:
    """What the conversation remembers of the assistant's speech."""
    items = [item for item in talk.engine.conversation if isinstance(item, Message) and item.role == "assistant"]
    return [part.transcript for item in items for part in item.content]  # type: ignore[union-attr,misc]


def interrupted_talk() -> tuple[Talk, int]:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "one two three four five six seven eight"))
    talk.audio(run, 4000, "one two three four five six seven eight")
    talk.happens(happened.PlayoutStarted(run))
    talk.happens(happened.PlayoutAdvanced(run, 900), after_s=0.9)
    return talk, run


def test_barge_in_while_the_model_still_produces() -> None:
    talk, run = interrupted_talk()
    started = talk.happens(happened.VoiceStarted(talk.input_ms))
    assert types(started) == ["input_audio_buffer.speech_started"]
    assert talk.last(do.CancelGeneration).run == run
    assert talk.count(do.StopPlayout) == 1
    assert talk.happens(happened.TextProduced(run, " nine")) == [], "a stopped response says no more"
    events = talk.happens(happened.PlayoutStopped(run, 2000))
    assert types(events) == [
        "output_audio_buffer.cleared",
        *SPOKEN_ITEM_END,
        *RESPONSE_END,
        "conversation.item.truncated",
    ]
    response = one(events, "response.done")["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["transcript"] == "one two three four"
    assert one(events, "conversation.item.truncated")["audio_end_ms"] == 2000


def test_barge_in_after_the_model_has_finished_cuts_the_item_where_it_was_heard() -> None:
    """Users' complaint: after an interruption the transcript keeps seconds that nobody heard."""
    talk, run = interrupted_talk()
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.VoiceStarted(talk.input_ms))
    events = talk.happens(happened.PlayoutStopped(run, 1000))
    assert types(events) == ["output_audio_buffer.cleared", "conversation.item.truncated"]
    talk.happens(happened.VoiceStopped(5000, 5500))
    spoken = [item for item in talk.generate().items if getattr(item, "role", "") == "assistant"]
    assert spoken[0].content[0].transcript == "one two"  # type: ignore[union-attr]


def test_barge_in_forgets_the_sentences_that_the_voice_had_not_reached() -> None:
    """The model runs ahead of a voice that sends every sentence in several pieces and names its words in the first."""
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "Your order left on Monday. "))
    talk.happens(happened.TextProduced(run, "It arrives by Thursday."))
    for text in ("Your order left on Monday. ", "It arrives by Thursday."):
        talk.audio(run, 400, text)
        for _ in range(4):
            talk.audio(run, 400)
    talk.happens(happened.PlayoutStarted(run))
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(run, 1000))
    assert said_by_assistant(talk) == ["Your order left"]


def test_words_whose_place_nobody_knows_are_spread_over_the_sound_that_follows_them() -> None:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "one two "))
    for _ in range(4):
        talk.audio(run, 250)
    talk.happens(happened.TextProduced(run, "three four"))
    for _ in range(4):
        talk.audio(run, 250)
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(run, 1600))
    assert said_by_assistant(talk) == ["one two three"]


def test_a_breath_before_the_first_word_moves_no_words() -> None:
    talk = Talk()
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "one two three four"))
    talk.audio(run, 500)
    talk.audio(run, 2000, "one two three four")
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(run, 1500))
    assert said_by_assistant(talk) == ["one two"]


def test_barge_in_before_the_first_sound_keeps_no_words() -> None:
    talk = Talk()
    talk.says()
    talk.happens(happened.TextProduced(talk.generate().run, "We open at nine."))
    events = talk.happens(happened.VoiceStarted(talk.input_ms))
    assert types(events) == [
        "input_audio_buffer.speech_started",
        *SPOKEN_ITEM_END,
        *RESPONSE_END,
        "conversation.item.truncated",
    ]
    assert one(events, "conversation.item.truncated")["audio_end_ms"] == 0
    assert said_by_assistant(talk) == [""]


def test_barge_in_between_two_answers_cuts_only_what_was_not_heard() -> None:
    """The second answer has words and no sound yet while the first is still playing."""
    talk, run = interrupted_talk()
    talk.happens(happened.GenerationFinished(run))
    talk.client("response.create")
    talk.happens(happened.TextProduced(talk.generate().run, "And another thing."))
    talk.happens(happened.VoiceStarted(talk.input_ms))
    events = talk.happens(happened.PlayoutStopped(run, 2000))
    cut = [event["audio_end_ms"] for event in events if event["type"] == "conversation.item.truncated"]
    assert (cut, said_by_assistant(talk)) == ([2000, 0], ["one two three four", ""])


def test_barge_in_after_a_clear_forgets_nothing_that_was_heard() -> None:
    talk, run = interrupted_talk()
    talk.client("output_audio_buffer.clear")
    talk.happens(happened.PlayoutStopped(run, 2000))
    talk.happens(happened.TextProduced(run, " nine"))
    events = talk.happens(happened.VoiceStarted(talk.input_ms))
    assert "conversation.item.truncated" not in types(events)
    assert said_by_assistant(talk) == ["one two three four"]


def test_a_turn_that_ends_before_the_stop_is_known_is_answered_after_it() -> None:
    talk, run = interrupted_talk()
    talk.happens(happened.VoiceStarted(3000))
    stopped = talk.happens(happened.VoiceStopped(3010, 3020))
    assert "response.created" not in types(stopped)
    assert types(talk.happens(happened.PlayoutStopped(run, 1000)))[-1] == "response.created"


def test_a_stop_that_is_never_confirmed_counts_from_the_last_report() -> None:
    talk, _ = interrupted_talk()
    talk.happens(happened.VoiceStarted(3000))
    events = talk.waits(1)
    assert one(events, "conversation.item.truncated")["audio_end_ms"] == 900


def test_with_interrupt_response_off_nothing_is_cut_and_the_turn_is_answered_afterwards() -> None:
    talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    talk.says()
    run = talk.generate().run
    talk.audio(run, 3000, "A long story.")
    turn = talk.says()
    assert "response.created" not in types(turn)
    assert talk.count(do.StopPlayout) == 0
    ended = talk.happens(happened.GenerationFinished(run))
    assert one(ended, "response.done")["response"]["status"] == "completed"
    assert types(ended)[-1] == "response.created"


def test_an_item_whose_audio_had_ended_is_not_cut() -> None:
    talk, run = interrupted_talk()
    talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.VoiceStarted(4000))
    assert types(talk.happens(happened.PlayoutFinished(run, 4000))) == ["output_audio_buffer.cleared"]


def test_two_queued_answers_are_both_stopped() -> None:
    talk, run = interrupted_talk()
    talk.happens(happened.GenerationFinished(run))
    talk.client("response.create")
    talk.answers("And another thing.", 1500)
    second = talk.generate().run
    talk.happens(happened.VoiceStarted(4000))
    assert talk.happens(happened.PlayoutStopped(run, 1000)) == []
    events = talk.happens(happened.PlayoutStopped(second, 0))
    cut = [event["audio_end_ms"] for event in events if event["type"] == "conversation.item.truncated"]
    assert cut == [1000, 0]
    assert types(events).count("output_audio_buffer.cleared") == 1, "the second was never started"


# -- cancelling and clearing


def test_cancel_stops_generating_and_what_is_queued_still_plays() -> None:
    talk, run = interrupted_talk()
    events = talk.client("response.cancel")
    assert types(events) == SPOKEN_ITEM_END + RESPONSE_END
    assert one(events, "response.done")["response"]["status_details"] == {
        "type": "cancelled",
        "reason": "client_cancelled",
    }
    assert talk.count(do.StopPlayout) == 0
    assert types(talk.happens(happened.PlayoutFinished(run, 4000))) == ["output_audio_buffer.stopped"]


def test_cancel_then_clear_stops_both() -> None:
    talk, run = interrupted_talk()
    talk.client("response.cancel")
    assert talk.client("output_audio_buffer.clear") == []
    assert talk.count(do.StopPlayout) == 1
    events = talk.happens(happened.PlayoutStopped(run, 1500))
    assert types(events) == ["output_audio_buffer.cleared", "conversation.item.truncated"]


def test_clear_alone_silences_the_rest_of_the_response() -> None:
    talk, run = interrupted_talk()
    talk.client("output_audio_buffer.clear")
    talk.happens(happened.PlayoutStopped(run, 1000))
    plays = talk.count(do.Play)
    talk.audio(run, 1000, "more")
    assert talk.count(do.Play) == plays
    events = talk.happens(happened.GenerationFinished(run))
    assert one(events, "response.done")["response"]["output"][0]["content"][0]["transcript"] == "one two"


def test_a_response_asked_for_at_a_clear_is_given_only_the_words_that_were_heard() -> None:
    """How much was heard is known a tick after the clear; the request to the model waits for it."""
    talk, run = interrupted_talk()
    talk.client("response.cancel")
    talk.client("output_audio_buffer.clear")
    assert types(talk.client("response.create")) == ["response.created"]
    assert talk.generate().run == run, "not asked yet"
    talk.happens(happened.PlayoutStopped(run, 2000))
    assert talk.generate().run != run
    assert [item.content[0].transcript for item in talk.generate().items if item.role == "assistant"] == [  # type: ignore[union-attr]
        "one two three four"
    ]


def test_a_response_does_not_wait_for_a_stop_that_is_never_confirmed() -> None:
    talk, run = interrupted_talk()
    talk.happens(happened.GenerationFinished(run))
    talk.client("output_audio_buffer.clear")
    talk.client("response.create")
    assert talk.generate().run == run
    talk.waits(1)
    assert talk.generate().run != run


@pytest.mark.parametrize("first", ["words", "stop"])
def test_a_response_waits_for_the_callers_words_and_for_the_stop(first: str) -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=True))
    talk.client("response.create")
    talk.answers("one two three four", 4000)
    run = talk.generate().run
    talk.says(500)
    item_id = talk.last(do.Hear).item_id
    happenings: list[happened.Input] = [
        happened.TranscriptCompleted(item_id, "Stop.", 0.5),
        happened.PlayoutStopped(run, 2000),
    ]
    for each in happenings if first == "words" else reversed(happenings):
        assert talk.generate().run == run
        talk.happens(each)
    assert [item.content[0].transcript for item in talk.generate().items] == ["one two", "Stop."]  # type: ignore[union-attr]


def test_an_item_deleted_while_it_is_stopped_holds_nobody_up() -> None:
    talk, run = interrupted_talk()
    item_id = one(talk.happens(happened.GenerationFinished(run)), "conversation.item.done")["item"]["id"]
    talk.client("output_audio_buffer.clear")
    talk.client("response.create")
    talk.client("conversation.item.delete", item_id=item_id)
    assert talk.generate().run != run
    assert item_id not in [item.id for item in talk.generate().items]


def test_a_response_that_reads_nothing_of_the_conversation_does_not_wait_for_a_stop() -> None:
    talk, run = interrupted_talk()
    talk.client("output_audio_buffer.clear")
    talk.client("response.create", response={"conversation": "none", "input": []})
    assert talk.generate().run != run


def test_cancel_with_nothing_active_has_the_known_code() -> None:
    refused = error(Talk().client("response.cancel", event_id="x"))
    assert (refused["code"], refused["event_id"]) == ("response_cancel_not_active", "x")


def test_a_second_response_while_one_is_active_has_the_known_code() -> None:
    talk = Talk()
    created = one(talk.client("response.create"), "response.created")["response"]
    refused = error(talk.client("response.create"))
    assert refused["code"] == "conversation_already_has_active_response"
    assert created["id"] in refused["message"]


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


# -- silence and keys


def test_a_silent_caller_is_asked_after_the_idle_timeout() -> None:
    talk = Talk(
        audio={
            "input": {
                "transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "idle_timeout_ms": 6000},
            }
        }
    )
    assert talk.waits(60) == [], "nothing was answered yet"
    talk.says()
    talk.answers(ms=2000)
    run = talk.generate().run
    assert talk.waits(20) == [], "the answer is still being played"
    talk.happens(happened.PlayoutFinished(run, 2000))
    assert talk.waits(5.9) == []
    events = talk.waits(0.2)
    assert types(events) == [
        "input_audio_buffer.timeout_triggered",
        "conversation.item.added",
        "conversation.item.done",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "conversation.item.input_audio_transcription.completed",
    ]
    timeout, note, _, committed, item, _, _, transcript = events
    assert timeout["audio_end_ms"] - timeout["audio_start_ms"] == 6000
    assert note["item"]["role"] == "system"
    assert committed["previous_item_id"] == note["item"]["id"]
    assert committed["item_id"] == timeout["item_id"] == item["item"]["id"]
    assert (transcript["transcript"], transcript["usage"]) == ("", {"type": "duration", "seconds": 0.0})


def test_speech_resets_the_idle_timeout() -> None:
    talk = Talk(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
    talk.says()
    talk.answers()
    talk.happens(happened.PlayoutFinished(talk.generate().run, 2000))
    talk.waits(4)
    talk.happens(happened.VoiceStarted(talk.input_ms))
    assert talk.engine.next_deadline() is None


@pytest.mark.parametrize("digit", list("0123456789*#ABCD"))
def test_a_pressed_key_is_reported(digit: str) -> None:
    event = one(Talk().happens(happened.DigitPressed(digit, 1795369212)), "input_audio_buffer.dtmf_event_received")
    assert (event["event"], event["received_at"]) == (digit, 1795369212)


# -- items


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


def test_a_callers_item_is_retrieved_with_its_audio() -> None:
    talk = Talk()
    talk.says(1000)
    item_id = talk.last(do.Hear).item_id
    talk.client("conversation.item.retrieve", item_id=item_id)
    wanted = talk.last(do.SendWithAudio)
    assert (wanted.item.id, wanted.end_ms) == (item_id, 1500)


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


# -- the end


def test_the_end_of_the_call_gives_every_response_an_end() -> None:
    talk = Talk()
    talk.says()
    talk.client("response.create", response={"conversation": "none"})
    outputs = talk.engine.close(talk.now)
    done = [
        each.event.response.status for each in outputs if isinstance(each, do.Send) and hasattr(each.event, "response")
    ]
    assert done == ["cancelled", "cancelled"]
    assert sum(isinstance(each, do.CancelGeneration) for each in outputs) == 2
