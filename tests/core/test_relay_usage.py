"""What the answers and transcripts of an upstream took: its own figures where it tells them, and nobody's twice."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.relay_talk import PATIENCE_S, TRANSCRIBED, RelayTalk
from tests.core.talk import one
from tests.core.test_relay_reserve import StandIn

from offhook.session.relay import limits

WORDS = "conversation.item.input_audio_transcription"
COUNTED = {"total_tokens": 60_000, "input_tokens": 50_000, "output_tokens": 10_000}


def answering() -> RelayTalk:
    """A conversation in the middle of an answer."""
    talk = RelayTalk(instructions="Be brief. " * 100)
    talk.client("response.create")
    talk.begins()
    talk.speaks("We open at nine and", 500)
    return talk


def noted(talk: RelayTalk) -> list[tuple[int, bool]]:
    """What was taken down: the tokens of each response, and whether they are an estimate."""
    return [(used.usage.total_tokens, used.is_estimated) for used in talk.used]


def test_an_answer_took_what_upstream_counted() -> None:
    talk = answering()
    assert noted(talk) == []
    talk.ends()
    talk.waits(60)
    talk.hangs_up()
    assert noted(talk) == [(30, False)]


def test_an_interrupted_answer_took_what_upstream_counted_of_it() -> None:
    """Symptom: the figures that come with the end of a cancelled response were thrown away, for an estimate of ours."""
    talk = answering()
    told = talk.client("response.cancel")
    assert one(told, "response.done")["response"]["usage"]["total_tokens"] < 1000
    assert noted(talk) == [], "upstream will tell it"
    talk.ends("cancelled", usage=COUNTED)
    assert noted(talk) == [(60_000, False)]
    talk.waits(60)
    talk.hangs_up()
    assert noted(talk) == [(60_000, False)]


def test_a_response_that_failed_upstream_took_what_it_counted() -> None:
    talk = answering()
    talk.ends("failed", usage=COUNTED, status_details={"type": "failed", "error": {"code": "e", "message": "No."}})
    assert noted(talk) == [(60_000, False)]


@pytest.mark.parametrize("ending", ["never ended", "lost", "silent", "hung up", "uncounted", "nonsense"])
def test_what_upstream_does_not_count_is_estimated_once(ending: str) -> None:
    talk = answering()
    match ending:
        case "never ended":
            talk.client("response.cancel")
            talk.waits(limits.CANCEL_S + 0.1)
        case "lost":
            talk.lose()
        case "silent":
            talk.waits(PATIENCE_S + limits.CANCEL_S + 1)
        case "uncounted":
            talk.ends(usage=None)
        case "nonsense":
            talk.ends(usage=COUNTED | {"input_tokens": -1})
        case _:
            pass
    talk.hangs_up()
    ((tokens, is_estimated),) = noted(talk)
    assert is_estimated
    assert 250 < tokens < 1000, "the instructions alone are a thousand letters"


def test_a_response_that_was_never_asked_for_took_nothing() -> None:
    """Symptom: a call whose upstream had refused the key cost money."""
    talk = RelayTalk(is_online=False)
    talk.lose("HTTP 401", is_refused=True)
    talk.client("response.create")
    assert one(talk.sent, "response.done")["response"]["status"] == "failed"
    talk.hangs_up()
    assert talk.upstream == []
    assert noted(talk) == []


def test_a_response_that_upstream_refused_took_nothing() -> None:
    talk = RelayTalk()
    talk.client("response.create")
    (asked,) = talk.asked("response.create")
    talk.says_upstream("error", error={"code": "invalid_value", "message": "No.", "event_id": asked["event_id"]})
    talk.hangs_up()
    assert noted(talk) == []


@pytest.mark.parametrize("stopped", [False, True])
def test_an_error_about_a_response_that_has_begun_does_not_make_it_free(stopped: bool) -> None:
    talk = answering()
    (asked,) = talk.asked("response.create")
    if stopped:
        talk.client("response.cancel")
    talk.says_upstream("error", error={"code": "tool_error", "message": "No.", "event_id": asked["event_id"]})
    talk.ends(usage=COUNTED)
    talk.hangs_up()
    assert noted(talk) == [(60_000, False)]


@pytest.mark.parametrize("counts", [False, True])
def test_a_response_that_another_gives_takes_upstream_what_that_counts_of_it(counts: bool) -> None:
    talk = StandIn(audio=TRANSCRIBED)
    talk.says()
    talk.begins()
    talk.waits(PATIENCE_S + 0.1)
    assert len(talk.handed_over) == 1
    talk.ends("cancelled", usage=COUNTED if counts else None)
    talk.stands_in()
    talk.waits(5)
    talk.hangs_up()
    assert one(talk.sent, "response.done")["response"]["usage"]["total_tokens"] < 1000
    assert noted(talk) == [(60_000, False)] * counts, "what the other took is not upstream's"


def test_a_response_that_nobody_asked_for_took_what_upstream_counted() -> None:
    talk = RelayTalk()
    talk.begins("resp_stray", "item_stray")
    talk.ends("cancelled", "resp_stray", usage=COUNTED)
    talk.hangs_up()
    assert noted(talk) == [(60_000, False)]


def words_of_a_turn(usage: Any) -> dict[str, Any]:
    """Return what clients are told of a turn's words when upstream tells this of them."""
    talk = RelayTalk(audio=TRANSCRIBED)
    talk.says()
    talk.says_upstream("input_audio_buffer.committed", item_id="item_there_0")
    members = {"item_id": "item_there_0", "content_index": 0, "transcript": "When?", "usage": usage}
    return one(talk.says_upstream(f"{WORDS}.completed", **members), f"{WORDS}.completed")


TOKENS = {
    "type": "tokens",
    "total_tokens": 30,
    "input_tokens": 20,
    "output_tokens": 10,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 20},
}


def test_the_tokens_of_a_transcript_are_those_that_upstream_counted() -> None:
    """Symptom: clients were told a duration, and a call with prices for tokens had no sum."""
    assert words_of_a_turn(TOKENS)["usage"] == TOKENS


@pytest.mark.parametrize(
    "usage",
    [None, {"type": "duration", "seconds": 1.0}, {"type": "tokens"}, 7, TOKENS | {"output_tokens": 10**400}],
    ids=["none", "duration", "no figures", "no usage", "too many"],
)
def test_without_tokens_a_transcript_is_billed_by_its_length(usage: Any) -> None:
    assert words_of_a_turn(usage)["usage"]["type"] == "duration"
