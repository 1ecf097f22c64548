"""Interruptions: what is stopped, what is cancelled, and what the conversation remembers of it."""

from __future__ import annotations

import pytest
from tests.core.talk import (
    RESPONSE_END,
    SPOKEN_ITEM_END,
    Talk,
    error,
    interrupted_talk,
    one,
    said_by_assistant,
    types,
)

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions

# -- barge-in


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


def test_sound_that_comes_between_a_clear_and_its_confirmation_is_not_played() -> None:
    """It would be heard after the silence that the client asked for, as a second beginning of the same response."""
    talk, run = interrupted_talk()
    talk.client("output_audio_buffer.clear")
    plays = talk.count(do.Play)
    talk.audio(run, 1000, "more")
    assert talk.count(do.Play) == plays
    assert types(talk.happens(happened.PlayoutStopped(run, 1000))) == [
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]
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
