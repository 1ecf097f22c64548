"""The ways of each upstream: where it is, what it takes, and conversations in the order that it sends its events in."""

from __future__ import annotations

import base64
import json
from typing import get_args

import pytest
from tests.core.relay_talk import TRANSCRIBED, RelayTalk
from tests.core.talk import function, one, types

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.relay.dialect import DIALECTS, DialectName, dialect_of, socket_url
from offhook.wire.decode import decode_client_event

# -- where


@pytest.mark.parametrize(
    ("dialect", "url", "expected"),
    [
        ("openai", "wss://api.openai.com", "wss://api.openai.com/v1/realtime?model=m"),
        ("openai", "https://api.openai.com/v1/realtime", "wss://api.openai.com/v1/realtime?model=m"),
        ("offhook", "http://127.0.0.1:8080/", "ws://127.0.0.1:8080/v1/realtime?model=m"),
        ("azure", "wss://one.openai.azure.com", "wss://one.openai.azure.com/openai/v1/realtime?model=m"),
        (
            "azure",
            "wss://one.openai.azure.com/openai/realtime?api-version=2025-04-01-preview",
            "wss://one.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=m",
        ),
        ("azure", "wss://a.azure.com/openai/realtime?api-version=1&deployment=d", None),
        (
            "azure",
            "wss://one.openai.azure.com?api-version=2025-04-01-preview",
            "wss://one.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=m",
        ),
        ("vllm-omni", "ws://gpu:8091/v1/realtime?duplex=0", "ws://gpu:8091/v1/realtime?duplex=0&model=m"),
        ("xai", "wss://api.x.ai/v1/realtime?model=given", None),
    ],
)
def test_the_socket_is_where_the_provider_has_it(dialect: DialectName, url: str, expected: str | None) -> None:
    assert socket_url(url, dialect_of(dialect, url), "m") == (expected or url)


def test_a_model_with_odd_letters_stays_one_value() -> None:
    assert socket_url("ws://h", DIALECTS["offhook"], "a&b=c d").endswith("?model=a%26b%3Dc+d")


def test_every_dialect_that_can_be_named_is_there() -> None:
    assert set(DIALECTS) == set(get_args(DialectName))


def test_azure_has_its_own_header_for_the_key() -> None:
    headers = {name: dialect.key_header for name, dialect in DIALECTS.items()}
    assert headers == dict.fromkeys(DIALECTS, "authorization") | {"azure": "api-key"}


# -- offhook: every event that goes there is one that it takes


class OffhookTalk(RelayTalk):
    dialect = "offhook"


def test_another_offhook_takes_all_that_is_sent() -> None:
    talk = OffhookTalk(tools=[function()], audio=TRANSCRIBED, truncation="disabled", reasoning={"effort": "low"})
    talk.says()
    talk.answers_upstream()
    talk.happens(happened.PlayoutStarted(talk.run))
    talk.happens(happened.VoiceStarted(talk.input_ms))
    talk.happens(happened.PlayoutStopped(talk.run, 100))
    talk.client("response.create", response={"conversation": "none", "input": [], "audio": {"output": {}}})
    assert talk.asked("conversation.item.truncate")
    for event in talk.upstream:
        decode_client_event(json.dumps(event))


# -- Azure: dated versions still have the names of the preview


class AzureTalk(RelayTalk):
    dialect = "azure"
    url = "wss://one.openai.azure.com/openai/realtime?api-version=2025-04-01-preview"


def test_a_dated_version_gets_the_session_of_the_preview() -> None:
    talk = AzureTalk(
        audio=TRANSCRIBED | {"output": {"voice": "alloy"}}, instructions="Be brief.", truncation="disabled"
    )
    (update,) = talk.asked("session.update")
    assert update["session"] == {
        "turn_detection": None,
        "input_audio_format": "g711_ulaw",
        "output_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1"},
        "voice": "alloy",
        "instructions": "Be brief.",
        "modalities": ["audio", "text"],
        "max_response_output_tokens": "inf",
        "tools": [],
        "tool_choice": "auto",
    }
    assert talk.warnings == ["session members without effect upstream: truncation"]
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}
    talk.client("conversation.item.create", item=said)
    talk.client("response.create", response={"output_modalities": ["text"], "max_output_tokens": 50})
    assert talk.asked("conversation.item.create")[0]["item"]["content"] == [{"type": "text", "text": "Hello."}]
    (asked,) = talk.asked("response.create")
    assert asked["response"] == {"modalities": ["text"], "max_response_output_tokens": 50}


def test_azure_without_a_date_is_as_the_hosted_service() -> None:
    assert dialect_of("azure", "wss://one.openai.azure.com/openai/v1/realtime") is DIALECTS["azure"]
    assert session_of("azure") == session_of("openai")


def session_of(name: DialectName) -> object:
    talk = type("Talk", (RelayTalk,), {"dialect": name})()
    return talk.asked("session.update")[0]["session"]


def test_the_names_of_the_preview_are_understood() -> None:
    talk = AzureTalk()
    talk.says()
    talk.says_upstream("response.created", response={"id": "r"})
    where = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
    talk.says_upstream("response.audio_transcript.delta", delta="Hello.", **where)
    talk.says_upstream("response.audio.delta", delta=base64.b64encode(bytes([255]) * 800).decode(), **where)
    done = one(talk.ends(response_id="r"), "response.done")["response"]
    assert done["output"][0]["content"][0]["transcript"] == "Hello."
    assert talk.last(do.Play).rate_hz == 8000


# -- xAI: a flat session, commits that are answered, no cuts


class XaiTalk(RelayTalk):
    dialect = "xai"


def test_xai_gets_a_flat_session_without_what_it_does_not_know() -> None:
    talk = XaiTalk(instructions="Be brief.", audio=TRANSCRIBED | {"output": {"voice": "Eve"}})
    (update,) = talk.asked("session.update")
    assert update["session"] == {
        "turn_detection": None,
        "voice": "Eve",
        "instructions": "Be brief.",
        "tools": [],
        "tool_choice": "auto",
        "audio": {
            "input": {"format": {"type": "audio/pcmu"}, "transcription": {"model": "grok-transcribe"}},
            "output": {"format": {"type": "audio/pcmu"}},
        },
    }


def test_a_voice_that_xai_does_not_have_is_left_to_it() -> None:
    (update,) = XaiTalk(audio={"output": {"voice": "marin"}}).asked("session.update")
    assert "voice" not in update["session"]


def test_what_an_upstream_does_not_have_is_said_once() -> None:
    talk = XaiTalk(audio={"output": {"voice": "eve", "speed": 1.2}}, max_output_tokens=100)
    talk.client("session.update", session={"type": "realtime", "instructions": "Sing."})
    assert talk.warnings == ["session members without effect upstream: max_output_tokens,speed"]
    assert not RelayTalk(audio={"output": {"speed": 1.2}}, max_output_tokens=100).warnings


def test_a_turn_goes_to_xai_whole_and_its_commit_is_what_asks() -> None:
    talk = XaiTalk(audio=TRANSCRIBED)
    talk.says()
    assert talk.sent_types() == ["session.update", "input_audio_buffer.append", "input_audio_buffer.commit"]
    name = "conversation.item.input_audio_transcription"
    talk.says_upstream("input_audio_buffer.committed", item_id="t")
    assert talk.says_upstream(f"{name}.updated", item_id="t", transcript="When do") == []
    assert talk.says_upstream(f"{name}.completed", item_id="t", transcript="When", status="in_progress") == []
    heard = talk.says_upstream(f"{name}.completed", item_id="t", transcript="When do you open?")
    assert one(heard, f"{name}.completed")["transcript"] == "When do you open?"
    talk.answers_upstream()
    assert one(talk.sent[-2:], "response.done")["response"]["status"] == "completed"


def test_a_turn_that_xai_refuses_fails_its_answer_at_once() -> None:
    """Symptom: the caller heard nothing for twenty seconds, for the commit is what asks."""
    talk = XaiTalk(audio=TRANSCRIBED)
    talk.says()
    (commit,) = talk.asked("input_audio_buffer.commit")
    refused = {"code": "input_audio_buffer_commit_empty", "message": "Too short.", "event_id": commit["event_id"]}
    told = talk.says_upstream("error", error=refused)
    assert one(told, "conversation.item.input_audio_transcription.failed")["error"]["message"] == "Too short."
    response = one(told, "response.done")["response"]
    assert (response["status"], response["status_details"]["error"]["message"]) == ("failed", "Too short.")
    talk.says()
    assert len(talk.asked("input_audio_buffer.commit")) == 2, "the next turn is asked about"


def test_a_turn_that_nobody_wants_answered_waits_until_somebody_does() -> None:
    talk = XaiTalk(audio={"input": {"turn_detection": {"type": "server_vad", "create_response": False}}})
    talk.says()
    assert not talk.asked("input_audio_buffer.commit")
    talk.client("response.create")
    assert talk.sent_types()[-1] == "input_audio_buffer.commit"
    assert not talk.asked("response.create")


def test_a_turn_that_xai_has_not_told_the_words_of_fails_with_the_connection() -> None:
    talk = XaiTalk(audio=TRANSCRIBED)
    talk.says()
    talk.answers_upstream()
    assert one(talk.lose(), "conversation.item.input_audio_transcription.failed")
    assert not talk.relay.awaits_words


def test_of_the_turns_that_were_spoken_meanwhile_xai_is_given_the_last_and_the_others_fail() -> None:
    talk = XaiTalk(is_online=False, audio=TRANSCRIBED)
    turns = [one(talk.says(), "input_audio_buffer.committed")["item_id"] for _ in range(2)]
    talk.connect()
    failed = one(talk.sent, "conversation.item.input_audio_transcription.failed")
    assert failed["item_id"] == turns[0]
    assert len(talk.asked("input_audio_buffer.commit")) == 1
    talk.says_upstream("conversation.item.input_audio_transcription.completed", item_id="t", transcript="When?")
    assert one(talk.sent, "conversation.item.input_audio_transcription.completed")["item_id"] == turns[1]


def test_xai_is_not_asked_to_cut_and_its_function_calls_come_whole() -> None:
    talk = XaiTalk(tools=[function()])
    talk.client("response.create")
    talk.says_upstream("response.created", response={"id": "r"})
    whole = {"call_id": "c", "name": "opening_hours", "arguments": "{}"}
    talk.says_upstream("response.function_call_arguments.done", response_id="r", output_index=0, **whole)
    (call,) = one(talk.ends(response_id="r"), "response.done")["response"]["output"]
    assert (call["call_id"], call["name"], call["arguments"]) == ("c", "opening_hours", "{}")
    talk.happens(happened.VoiceStarted(talk.input_ms))
    assert not talk.asked("conversation.item.truncate")


ITEM = {"id": "item_1", "type": "function_call", "name": "opening_hours", "call_id": "call_1"}
CALL = {
    "added": ("response.output_item.added", {"item": ITEM}),
    "delta": ("response.function_call_arguments.delta", {"call_id": "call_1", "delta": '{"day": 1}'}),
    "arguments": (
        "response.function_call_arguments.done",
        {"call_id": "call_1", "name": "opening_hours", "arguments": '{"day": 1}'},
    ),
    "done": ("response.output_item.done", {"item": ITEM | {"arguments": '{"day": 1}'}}),
}


@pytest.mark.parametrize(
    "order",
    [("added", "arguments"), ("arguments", "done"), ("added", "arguments", "done"), ("added", "delta", "arguments")],
    ids=" ".join,
)
def test_a_function_call_that_goes_by_two_names_is_one(order: tuple[str, ...]) -> None:
    """Symptom: a caller was hung up on, or an order was placed, twice."""
    talk = XaiTalk(tools=[function()])
    talk.client("response.create")
    talk.says_upstream("response.created", response={"id": "r1"})
    told = []
    for each in order:
        kind, members = CALL[each]
        told += talk.says_upstream(kind, response_id="r1", **members)
    told += talk.ends(response_id="r1")
    (call,) = (event["item"] for event in told if event["type"] == "response.output_item.done")
    assert (call["call_id"], call["arguments"]) == ("call_1", '{"day": 1}')


def test_a_call_id_is_not_taken_for_the_id_of_an_item() -> None:
    talk = RelayTalk(tools=[function()])
    talk.client("response.create")
    talk.says_upstream("response.created", response={"id": "r1"})
    kind, members = CALL["arguments"]
    told = talk.says_upstream(kind, response_id="r1", **members) + talk.ends(response_id="r1")
    talk.client("conversation.item.delete", item_id=one(told, "response.output_item.done")["item"]["id"])
    assert not talk.asked("conversation.item.delete")


def test_two_calls_of_one_function_are_two() -> None:
    talk = XaiTalk(tools=[function()])
    talk.client("response.create")
    talk.says_upstream("response.created", response={"id": "r1"})
    for number in (1, 2):
        members = {"call_id": f"call_{number}", "name": "opening_hours", "arguments": "{}"}
        talk.says_upstream("response.function_call_arguments.done", response_id="r1", **members)
        item = ITEM | {"id": f"item_{number}", "call_id": f"call_{number}", "arguments": "{}"}
        talk.says_upstream("response.output_item.done", response_id="r1", item=item)
    done = one(talk.ends(response_id="r1"), "response.done")["response"]
    assert [item["call_id"] for item in done["output"]] == ["call_1", "call_2"]


def test_xai_has_no_responses_beside_the_conversation_and_that_is_said() -> None:
    talk = XaiTalk()
    told = talk.client("response.create", response={"conversation": "none"})
    assert one(told, "response.done")["response"]["status_details"]["error"]["code"] == "invalid_value"
    assert not talk.asked("response.create")


# -- vLLM-Omni: linear samples only, no transcripts, and names of its own


class VllmTalk(RelayTalk):
    dialect = "vllm-omni"


def test_vllm_omni_gets_linear_samples_at_its_rate() -> None:
    talk = VllmTalk()
    talk.says()
    assert len(talk.audio_sent()) == 1500 * 24 * 2, "1.5 s at 24 kHz"
    (update,) = talk.asked("session.update")
    assert update["session"]["audio"]["input"] == {
        "turn_detection": None,
        "format": {"type": "audio/pcm", "rate": 24000},
    }


def test_words_that_vllm_omni_will_never_tell_are_not_waited_for() -> None:
    talk = VllmTalk(audio=TRANSCRIBED)
    told = one(talk.says(), "conversation.item.input_audio_transcription.failed")
    assert told["error"]["code"] == "not_supported"
    assert not talk.relay.awaits_words


def test_an_answer_with_other_members_and_without_ids_is_understood() -> None:
    talk = VllmTalk()
    talk.says()
    assert types(talk.says_upstream("transcription.delta", delta="Hello."))[-1].endswith("transcript.delta")
    samples = base64.b64encode(bytes(24000 * 2)).decode()
    talk.says_upstream("response.output_audio.delta", audio=samples, sample_rate_hz=24000)
    play = talk.last(do.Play)
    assert (play.rate_hz, len(play.pcm)) == (24000, 48000)
    done = one(talk.says_upstream("response.done"), "response.done")["response"]
    assert done["output"][0]["content"][0]["transcript"] == "Hello."
    assert done["status"] == "completed"


def test_samples_at_a_rate_that_cannot_be_played_are_left_out() -> None:
    talk = VllmTalk()
    talk.says()
    talk.says_upstream("response.output_audio.delta", audio="AAAA" * 4, sample_rate_hz=12345)
    assert talk.count(do.Play) == 0
    assert talk.warnings
