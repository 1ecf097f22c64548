"""Words of a turn while the caller still speaks: who gets them, when, and that none is taken back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.core.talk import SocketTalk, Talk, TranscriptionTalk, one, types
from tests.matrix import obeys

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.session.partial import EVERY_S, STREAMING_MODEL

DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"


def streaming(model: str = STREAMING_MODEL, *, hears_early: bool = True) -> Talk:
    options = EngineOptions(needs_transcripts=True, hears_early=hears_early)
    return Talk(options=options, audio={"input": {"transcription": {"model": model}}})


def begins(talk: Talk) -> str:
    """The caller begins to speak; returns the item that it will be."""
    events = talk.happens(happened.VoiceStarted(talk.input_ms))
    return str(one(events, "input_audio_buffer.speech_started")["item_id"])


def hears(talk: Talk, item_id: str, text: str | None) -> str:
    """A second passes, and this was said so far; returns what was sent of it."""
    before = talk.count(do.HearSoFar)
    talk.waits(EVERY_S)
    assert talk.count(do.HearSoFar) == before + 1
    assert talk.last(do.HearSoFar).item_id == item_id
    events = talk.happens(happened.HeardSoFar(item_id, text))
    assert set(types(events)) <= {DELTA}
    return "".join(event["delta"] for event in events)


def ends(talk: Talk, item_id: str, text: str) -> list[str]:
    """The turn ends, and this was said in all; returns the deltas, and the transcript."""
    talk.happens(happened.VoiceStopped(talk.input_ms - 500, talk.input_ms))
    events = talk.happens(happened.TranscriptGrew(item_id, text))
    events += talk.happens(happened.TranscriptCompleted(item_id, text, 4.0))
    return [*(event["delta"] for event in events if event["type"] == DELTA), one(events, COMPLETED)["transcript"]]


def test_words_are_sent_when_two_hearings_agree_and_the_rest_when_the_turn_is_over() -> None:
    talk = streaming()
    item_id = begins(talk)
    assert hears(talk, item_id, "Can you tell") == ""
    assert hears(talk, item_id, "Can you tell me when.") == "Can you"
    assert hears(talk, item_id, "Can you tell me when you are") == " tell me"
    whole = "Can you tell me when you are open?"
    assert ends(talk, item_id, whole) == [" when you are open?", whole]


def test_a_word_that_was_sent_is_never_sent_again_nor_taken_back() -> None:
    talk = streaming()
    item_id = begins(talk)
    hears(talk, item_id, "I scream is cold today")
    assert hears(talk, item_id, "I scream is cold today") == "I scream is cold"
    assert hears(talk, item_id, "Ice cream is cold today I say") == ""
    assert hears(talk, item_id, "Ice cream is cold today I say") == ""
    assert hears(talk, item_id, "I") == ""
    assert ends(talk, item_id, "Ice cream is cold today.") == ["Ice cream is cold today."], "the transcript is right"


@pytest.mark.parametrize(("model", "hears_early"), [("whisper-1", True), (STREAMING_MODEL, False)])
def test_other_models_and_other_ears_have_no_words_before_the_turn_is_over(model: str, hears_early: bool) -> None:
    talk = streaming(model, hears_early=hears_early)
    item_id = begins(talk)
    talk.waits(5)
    assert talk.count(do.HearSoFar) == 0
    assert ends(talk, item_id, "Hello.") == ["Hello.", "Hello."]


def test_a_turn_that_nobody_had_the_time_to_hear_is_asked_about_again() -> None:
    talk = streaming()
    item_id = begins(talk)
    assert hears(talk, item_id, None) == ""
    assert hears(talk, item_id, "Can you tell me") == ""
    assert hears(talk, item_id, "Can you tell me") == "Can you tell"


def test_only_one_hearing_is_under_way() -> None:
    talk = streaming()
    begins(talk)
    talk.waits(10)
    assert talk.count(do.HearSoFar) == 1


def test_the_turn_is_heard_from_its_beginning_to_now() -> None:
    talk = streaming()
    talk.waits(2)
    begins(talk)
    talk.waits(EVERY_S)
    asked = talk.last(do.HearSoFar)
    assert (asked.start_ms, asked.end_ms) == (1700, 3000)


def test_what_comes_after_the_turn_or_of_another_one_is_ignored() -> None:
    talk = streaming()
    first = begins(talk)
    hears(talk, first, "Hello there my friend")
    talk.waits(EVERY_S)
    assert ends(talk, first, "Hello there.") == ["Hello there.", "Hello there."]
    assert talk.happens(happened.HeardSoFar(first, "Hello there my friend")) == []
    second = begins(talk)
    assert hears(talk, second, "Hello there my friend") == "", "it begins anew"


def test_words_of_input_that_was_cleared_are_forgotten() -> None:
    talk = streaming()
    item_id = begins(talk)
    hears(talk, item_id, "Never mind what I say")
    hears(talk, item_id, "Never mind what I say")
    talk.client("input_audio_buffer.clear")
    talk.waits(EVERY_S)
    other = talk.last(do.HearSoFar).item_id
    assert other != item_id
    talk.happens(happened.HeardSoFar(other, None))
    assert ends(talk, other, "Hello.") == ["Hello.", "Hello."]


@pytest.mark.parametrize("other", [None, {"model": "whisper-1"}])
def test_a_session_that_wants_no_words_any_more_is_told_none_of_the_turn_that_goes_on(other: object) -> None:
    def transcribes(transcription: object) -> None:
        given = {"type": "realtime", "audio": {"input": {"transcription": transcription}}}
        assert types(talk.client("session.update", session=given)) == ["session.updated"]

    talk = streaming()
    item_id = begins(talk)
    hears(talk, item_id, "Can you tell me")
    talk.waits(EVERY_S)
    transcribes(other)
    assert talk.happens(happened.HeardSoFar(item_id, "Can you tell me when")) == [], "it was under way"
    asked = talk.count(do.HearSoFar)
    talk.waits(5)
    assert talk.count(do.HearSoFar) == asked
    transcribes({"model": STREAMING_MODEL})
    talk.waits(0.1)
    assert talk.count(do.HearSoFar) == asked + 1, "it wants them again"
    events = talk.happens(happened.HeardSoFar(item_id, "Can you tell me when you"))
    assert one(events, DELTA)["delta"] == "Can you tell"


DOORS: tuple[tuple[str, Callable[..., Talk]], ...] = (
    ("realtime", Talk),
    ("realtime", SocketTalk),
    ("transcription", TranscriptionTalk),
)


@pytest.mark.parametrize(
    ("kind", "door"),
    [
        pytest.param(kind, door, marks=obeys("session.update", f"session({kind}).audio.input.transcription.delay"))
        for kind, door in DOORS
    ],
)
def test_a_session_that_allows_less_delay_is_told_its_words_sooner(kind: str, door: Callable[..., Talk]) -> None:
    waited = []
    for delay in ("minimal", "low", "medium", "high", "xhigh"):
        talk = door(options=EngineOptions(needs_transcripts=True, hears_early=True))
        given = {"transcription": {"model": STREAMING_MODEL, "delay": delay}}
        talk.client("session.update", session={"type": kind, "audio": {"input": given}})
        item_id = begins(talk)
        first = talk.engine.next_deadline()
        assert first is not None
        talk.waits(first - talk.now)
        talk.happens(happened.HeardSoFar(item_id, "Can you"))
        second = talk.engine.next_deadline()
        assert second is not None
        waited.append(second - first)
    assert waited == sorted(set(waited)), "each allows more than the one before"
    assert waited[2] == pytest.approx(EVERY_S)
