"""Dead air where the client plays: a sentence comes as a response beside the conversation, whole and at once."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.talk import (
    SPOKEN_ITEM_END,
    Judged,
    JudgedOnSocket,
    SocketTalk,
    Talk,
    TranscriptionTalk,
    error,
    function,
    one,
    types,
)
from tests.core.test_waiting import calls_a_function, gives_output

from offhook.errors import ApiProblem
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.session.settings import SessionDefaults
from offhook.wire.own import Own, Say

MOMENT = {"after_ms": 1000, "say": "One moment, please."}
FILLER = {"offhook": "while_waiting"}


def waiting(**session: Any) -> JudgedOnSocket:
    return JudgedOnSocket(tools=[function("look_up")], offhook={"while_waiting": MOMENT}, **session)


def asks(talk: Talk) -> None:
    talk.client("response.create")


def is_made(talk: Talk, ms: float = 1200.0) -> list[dict[str, Any]]:
    """The voice has made the sentence."""
    number = talk.last(do.MakeFiller).number
    return talk.happens(happened.FillerMade(number, (happened.FillerSound(bytes(int(ms) * 48), 24000, ms),)))


def fillers(talk: Talk) -> int:
    return talk.count(do.MakeFiller)


def test_a_slow_model_is_bridged_by_a_response_beside_its_own() -> None:
    talk = waiting()
    asks(talk)
    talk.waits(0.99)
    assert fillers(talk) == 0
    talk.waits(0.02)
    wanted = talk.last(do.MakeFiller)
    assert (wanted.text, wanted.voice, wanted.speed) == ("One moment, please.", "marin", 1.0)
    told = is_made(talk)
    assert types(told) == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        *["response.output_audio.delta"] * 6,
        *[each for each in SPOKEN_ITEM_END if not each.startswith("conversation.")],
        "response.done",
        "rate_limits.updated",
    ]
    response = one(told, "response.done")["response"]
    assert (response["status"], response["conversation_id"], response["metadata"]) == ("completed", None, FILLER)
    assert response["output"][0]["content"] == [{"type": "output_audio", "transcript": "One moment, please."}]
    assert response["usage"]["input_tokens"] == 0, "no model was asked"
    assert response["usage"]["output_tokens"] > 0
    done = talk.answers()
    assert one(done, "response.done")["response"]["conversation_id"] is not None
    talk.ends()


def test_a_function_at_work_is_bridged_and_its_output_is_answered_as_ever() -> None:
    talk = waiting()
    asks(talk)
    calls_a_function(talk)
    talk.waits(1.1)
    is_made(talk)
    gives_output(talk)
    assert types(talk.client("response.create")) == ["response.created"], "nothing stands in its way"
    kinds = [type(item).__name__ for item in talk.generate().items]
    assert kinds == ["FunctionCall", "FunctionCallOutput"], "it is not in the conversation"
    talk.ends()


def test_what_the_client_still_plays_is_no_silence() -> None:
    talk = waiting()
    asks(talk)
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "Let me see."))
    talk.audio(run, 3000, "Let me see.")
    calls_a_function(talk)
    talk.waits(3.9)
    assert fillers(talk) == 0
    talk.waits(0.2)
    assert fillers(talk) == 1


@pytest.mark.parametrize("how", ["answer", "speech", "cancel"])
def test_a_sentence_that_comes_too_late_is_not_said(how: str) -> None:
    talk = waiting()
    asks(talk)
    talk.waits(1.1)
    run = talk.generate().run
    match how:
        case "answer":
            talk.happens(happened.TextProduced(run, "At nine."))
            talk.audio(run, 800, "At nine.")
        case "speech":
            talk.happens(happened.VoiceStarted(talk.input_ms))
        case "cancel":
            talk.client("response.cancel")
    assert talk.last(do.StopFilling).number == talk.last(do.MakeFiller).number
    assert is_made(talk) == []


def test_a_sentence_that_cannot_be_made_is_not_said() -> None:
    talk = waiting()
    asks(talk)
    talk.waits(1.1)
    assert talk.happens(happened.FillerEnded(talk.last(do.MakeFiller).number, 0)) == []
    assert one(talk.answers(), "response.done")["response"]["status"] == "completed"
    talk.ends()


def test_a_sentence_is_said_once_in_a_wait_and_again_in_the_next() -> None:
    talk = waiting()
    asks(talk)
    talk.waits(1.1)
    is_made(talk)
    talk.waits(50)
    assert fillers(talk) == 1
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "Let me see."))
    talk.audio(run, 500, "Let me see.")
    calls_a_function(talk)
    talk.waits(1.4)
    assert fillers(talk) == 1
    talk.waits(0.2)
    assert fillers(talk) == 2


def test_a_model_that_stops_in_the_middle_of_its_answer_is_bridged_behind_what_it_said() -> None:
    talk = waiting()
    asks(talk)
    talk.waits(1.1)
    is_made(talk)
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "Let me see."))
    talk.audio(run, 500, "Let me see.")
    talk.waits(2.5)
    assert fillers(talk) == 1, "the first sentence takes 1.2 s, the answer half of one"
    talk.waits(0.2)
    assert fillers(talk) == 2


def test_a_session_that_answers_in_writing_is_not_bridged() -> None:
    talk = waiting(output_modalities=["text"])
    asks(talk)
    talk.waits(5)
    calls_a_function(talk)
    talk.waits(5)
    assert fillers(talk) == 0


def test_after_a_sentence_the_voice_stays_the_same() -> None:
    talk = waiting()
    asks(talk)
    talk.waits(1.1)
    is_made(talk)
    update = {"type": "realtime", "audio": {"output": {"voice": "ash"}}}
    assert error(talk.client("session.update", session=update))["code"] == "cannot_update_voice"


@pytest.mark.parametrize("way", [{"tone": True}, {"clip": "music"}])
def test_what_only_the_server_could_play_is_refused_by_name(way: dict[str, Any]) -> None:
    options = EngineOptions(needs_transcripts=False, clips=frozenset({"music"}))
    talk = SocketTalk(options=options)
    own = {"while_waiting": way}
    param = f"session.offhook.while_waiting.{next(iter(way))}"
    assert error(talk.client("session.update", session={"type": "realtime", "offhook": own}))["param"] == param
    with pytest.raises(ApiProblem) as refused:
        SocketTalk(options=options, offhook=own)
    assert refused.value.param == param
    Talk(options=options, offhook=own)


def test_a_session_that_never_answers_has_none_of_it() -> None:
    talk = TranscriptionTalk()
    wanted = {"type": "transcription", "offhook": {"while_waiting": MOMENT}}
    refused = error(talk.client("session.update", session=wanted))
    assert (refused["code"], refused["param"]) == ("unknown_parameter", "session.offhook")


def test_the_servers_own_filler_is_for_calls() -> None:
    own = Own(filling=Say("One moment, please."), filling_after_ms=700)
    options = EngineOptions(needs_transcripts=False, defaults=SessionDefaults(own=own))
    talks = SocketTalk(options=options), SocketTalk(options=options, offhook={"while_waiting": MOMENT})
    talks[1].client("session.update", session={"type": "realtime", "offhook": None})
    for talk in talks:
        asks(talk)
        talk.waits(5)
        assert fillers(talk) == 0
    call = Judged(options=options)
    asks(call)
    call.waits(5)
    assert call.count(do.Fill) == 1


def test_the_agent_begins_and_apologises_as_on_calls() -> None:
    talk = JudgedOnSocket(offhook={"speak_first": "Clinic Weber.", "apology": "I am sorry."})
    first = talk.generate()
    assert (first.verbatim, first.apology) == ("Clinic Weber.", "I am sorry.")
    said = talk.answers("Clinic Weber.", 900)
    assert "response.output_audio.delta" in types(said)
    asks(talk)
    assert (talk.generate().verbatim, talk.generate().apology) == ("", "I am sorry.")
