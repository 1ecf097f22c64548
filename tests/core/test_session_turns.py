"""Turns of a conversation, in the exact orders of the API: detected, manual, silent, by keys."""

from __future__ import annotations

import pytest
from tests.core.talk import (
    RESPONSE_END,
    SPOKEN_ITEM,
    SPOKEN_ITEM_END,
    Talk,
    error,
    one,
    types,
)

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions

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


# -- heard early


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


def test_the_padding_of_a_turn_does_not_reach_into_the_words_before_it() -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 200, "prefix_padding_ms": 500, "create_response": False}
    talk = Talk(audio={"input": {"turn_detection": detection}})
    talk.happens(happened.VoiceStarted(500), after_s=0.5)
    talk.happens(happened.VoiceStopped(1500, 1700), after_s=1.2)
    started = talk.happens(happened.VoiceStarted(1800), after_s=0.1)
    assert started[0]["audio_start_ms"] == 1500
    talk.happens(happened.VoiceStopped(2800, 3000), after_s=1.2)
    heard = [(each.start_ms, each.end_ms) for each in talk.done if isinstance(each, do.Hear)]
    assert heard == [(0, 1700), (1500, 3000)]
    assert talk.happens(happened.VoiceStarted(6000), after_s=3)[0]["audio_start_ms"] == 5500


@pytest.mark.parametrize("verb", ["commit", "clear"])
def test_a_turn_begins_after_what_the_client_took_or_threw_away(verb: str) -> None:
    talk = Talk()
    talk.now += 2
    talk.client(f"input_audio_buffer.{verb}")
    started = talk.happens(happened.VoiceStarted(2100), after_s=0.1)
    assert started[0]["audio_start_ms"] == 2000


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


def test_speech_that_a_commit_cuts_in_two_stops_once_and_starts_again() -> None:
    talk, first = speaking_talk()
    talk.now += 2
    cut = talk.client("input_audio_buffer.commit")
    assert types(cut) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "input_audio_buffer.speech_started",
    ]
    stopped, started = cut[0], cut[-1]
    assert (stopped["item_id"], stopped["audio_end_ms"]) == (first, 3000)
    rest = talk.happens(happened.VoiceStopped(4500, 5000), after_s=2)
    second = rest[0]["item_id"]
    assert (started["item_id"], started["audio_start_ms"]) == (second, 3000)


@pytest.mark.parametrize("verb", ["commit", "clear"])
def test_a_command_in_a_pause_takes_all_that_was_said(verb: str) -> None:
    talk, _ = speaking_talk()
    talk.happens(happened.VoicePaused(2900, 3050), after_s=2)
    told = types(talk.client(f"input_audio_buffer.{verb}"))
    assert told[0] == "input_audio_buffer.speech_stopped"
    assert "input_audio_buffer.speech_started" not in told
    assert talk.engine.turns.spoken_item_id is None, "nobody speaks"
    assert talk.happens(happened.VoiceStopped(2900, 3400), after_s=0.4) == []
    assert talk.count(do.Generate) == 0, "the client asks for the answer to what it took"


def test_a_caller_who_speaks_on_after_a_commit_in_a_pause_starts_another_turn() -> None:
    talk, first = speaking_talk()
    talk.happens(happened.VoicePaused(2900, 3050), after_s=2)
    talk.client("input_audio_buffer.commit")
    talk.client("response.create")
    run = talk.generate().run
    again = talk.happens(happened.VoiceResumed(), after_s=0.2)
    started = one(again, "input_audio_buffer.speech_started")
    assert (started["item_id"] != first, started["audio_start_ms"]) == (True, 3000)
    assert one(again, "response.done")["response"]["status_details"]["reason"] == "turn_detected"
    assert do.CancelGeneration(run) in talk.done, "it is a barge-in like any other"
    rest = talk.happens(happened.VoiceStopped(4500, 5000), after_s=2)
    assert rest[0]["item_id"] == rest[1]["item_id"] == started["item_id"]
    assert (talk.last(do.Hear).start_ms, talk.last(do.Hear).end_ms) == (3000, 5000)


@pytest.mark.parametrize("verb", ["commit", "clear"])
def test_a_second_command_in_the_same_pause_begins_the_rest_behind_it(verb: str) -> None:
    talk, _ = speaking_talk()
    talk.happens(happened.VoicePaused(2900, 3050), after_s=2)
    talk.client("input_audio_buffer.commit")
    talk.now += 0.2
    assert "input_audio_buffer.speech_stopped" not in types(talk.client(f"input_audio_buffer.{verb}"))
    again = talk.happens(happened.VoiceResumed(), after_s=0.1)
    assert one(again, "input_audio_buffer.speech_started")["audio_start_ms"] == 3200


def test_a_clear_in_mid_speech_keeps_the_rest_of_the_turn() -> None:
    talk, first = speaking_talk()
    talk.now += 2
    cut = talk.client("input_audio_buffer.clear")
    assert types(cut) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.cleared",
        "input_audio_buffer.speech_started",
    ]
    second = cut[-1]["item_id"]
    assert (cut[0]["item_id"], second != first, cut[-1]["audio_start_ms"]) == (first, True, 3000)
    assert talk.happens(happened.VoiceStarted(3100)) == [], "the caller has not stopped"
    rest = talk.happens(happened.VoiceStopped(4500, 5000), after_s=2)
    assert types(rest)[-1] == "response.created"
    assert rest[0]["item_id"] == one(rest, "input_audio_buffer.committed")["item_id"] == second
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


def test_speech_stops_where_turns_are_no_longer_detected() -> None:
    talk, item_id = speaking_talk()
    talk.now += 2
    off = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    stopped, updated = talk.client("session.update", session=off)
    assert types([stopped, updated]) == ["input_audio_buffer.speech_stopped", "session.updated"]
    assert (stopped["item_id"], stopped["audio_end_ms"]) == (item_id, 3000)
    assert talk.happens(happened.VoiceStopped(2900, 3400), after_s=0.4) == []
    talk.client("input_audio_buffer.commit")
    assert (talk.last(do.Hear).start_ms, talk.last(do.Hear).end_ms) == (700, 3400), "it is the client's to commit"


def test_an_empty_commit_is_refused_with_the_known_code() -> None:
    talk = Talk()
    talk.now += 0.05
    refused = error(talk.client("input_audio_buffer.commit", event_id="e1"))
    assert (refused["code"], refused["event_id"]) == ("input_audio_buffer_commit_empty", "e1")
    assert refused["message"].endswith("but buffer only has 50.00ms of audio.")


def test_append_is_refused_on_a_telephone_call() -> None:
    assert error(Talk().client("input_audio_buffer.append", audio="AAAA"))["code"] == "invalid_value"


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
