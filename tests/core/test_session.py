"""The session as its client sees it: how it begins, what updates make of it, how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.core.talk import (
    SocketTalk,
    Talk,
    error,
    function,
    one,
    types,
)

from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.session.settings import WITHOUT_EFFECT, without_effect
from offhook.wire.decode import decode_session
from offhook.wire.session import SessionParams

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


def test_a_call_keeps_its_model_and_takes_the_rest_of_an_update_that_names_another() -> None:
    """An agent attached to a call sends its own default model, and its instructions and tools with it."""
    talk = Talk(model="my-model")
    update = {"type": "realtime", "model": "gpt-realtime-2.1", "instructions": "You settle bills."}
    session = one(talk.client("session.update", session=update), "session.updated")["session"]
    assert (session["model"], session["instructions"]) == ("my-model", "You settle bills.")
    talk.client("response.create")
    assert talk.generate().model == "my-model"


@pytest.mark.parametrize("wish", [{"instructions": "You settle bills."}, {"offhook": {"apology": "Sorry."}}])
def test_a_socket_too_takes_an_update_that_names_its_clients_default_model(wish: dict[str, Any]) -> None:
    """Agents that were given a URL with a model send their own default with everything else they want."""
    talk = SocketTalk(model="my-model")
    update = {"type": "realtime", "model": "gpt-realtime-2.1"}
    session = one(talk.client("session.update", session=update | wish), "session.updated")["session"]
    assert session["model"] == "my-model"
    assert session["instructions"] == wish.get("instructions", session["instructions"])
    talk.client("response.create")
    assert talk.generate().model == "my-model"


def test_an_update_of_nothing_but_the_model_is_refused_on_a_socket_and_the_same_one_passes() -> None:
    talk = SocketTalk(model="my-model")
    refused = error(talk.client("session.update", session={"type": "realtime", "model": "other"}))
    assert (refused["code"], refused["param"]) == ("invalid_value", "session.model")
    assert types(talk.client("session.update", session={"type": "realtime", "model": "my-model"})) == [
        "session.updated"
    ]


def test_the_first_update_names_the_model_when_accept_named_none() -> None:
    """Agents send their model with the first update, after an accept without one."""
    talk = Talk()

    def update(**members: str) -> list[dict[str, Any]]:
        return talk.client("session.update", session={"type": "realtime", **members})

    assert one(update(instructions="Be brief."), "session.updated")["session"]["model"] == "gpt-realtime"
    assert one(update(model="gpt-realtime-2.1"), "session.updated")["session"]["model"] == "gpt-realtime-2.1"
    talk.client("response.create")
    assert talk.generate().model == "gpt-realtime-2.1"
    again = one(update(model="gpt-realtime"), "session.updated")["session"]
    assert again["model"] == "gpt-realtime-2.1", "from then on it is chosen"


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


@pytest.mark.parametrize(("model", "tells", "missed"), [
    ("gpt-4o-transcribe-diarize", False, ["audio.input.transcription.model"]),
    ("gpt-4o-transcribe-diarize", True, []),
    ("whisper-1", False, []),
])  # fmt: skip
def test_a_recogniser_that_tells_nobody_apart_is_said_to_be_one(model: str, tells: bool, missed: list[str]) -> None:
    given = {"type": "realtime", "audio": {"input": {"transcription": {"model": model}}}}
    assert without_effect(decode_session(json.dumps(given).encode()), tells_speakers=tells) == missed


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


def test_a_voice_of_ones_own_is_echoed_by_its_id_and_may_be_sent_back_as_it_was_shown() -> None:
    talk = Talk(audio={"output": {"voice": {"id": "voice_1"}}})
    talk.client("response.create")
    shown = one(talk.sent, "response.created")["response"]["audio"]["output"]["voice"]
    assert shown == "voice_1"
    talk.answers()
    session = {"type": "realtime", "audio": {"output": {"voice": shown}}}
    updated = one(talk.client("session.update", session=session), "session.updated")["session"]
    assert updated["audio"]["output"]["voice"] == "voice_1"
