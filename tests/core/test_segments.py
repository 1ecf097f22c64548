"""Who said what: the segments of a transcript, for sessions whose transcription model tells speakers apart."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.talk import SocketTalk, Talk, TranscriptionTalk, one

from offhook.session import inputs as happened
from offhook.session import outputs as do

SEGMENT = "conversation.item.input_audio_transcription.segment"
DIARIZED = {"input": {"transcription": {"model": "gpt-4o-transcribe-diarize"}}}
doors = pytest.mark.parametrize("door", [Talk, SocketTalk, TranscriptionTalk])


def heard(talk: Talk) -> str:
    talk.says()
    return talk.last(do.Hear).item_id


def segments(talk: Talk, item_id: str, *each: happened.SegmentHeard) -> list[dict[str, Any]]:
    return [event for segment in each for event in talk.happens(segment) if event["type"] == SEGMENT]


@doors
def test_each_segment_is_told_with_its_speaker_and_its_time(door: type[Talk]) -> None:
    talk = door(audio=DIARIZED)
    first, second = heard(talk), heard(talk)
    told = segments(talk, first, happened.SegmentHeard(first, "Good morning.", "A", 0.0, 0.81251))
    told += segments(talk, second, happened.SegmentHeard(second, "Hello?", "B", 0.9, 1.5))
    assert [(each["item_id"], each["content_index"]) for each in told] == [(first, 0), (second, 0)]
    assert [(each["text"], each["speaker"]) for each in told] == [("Good morning.", "A"), ("Hello?", "B")]
    assert [(each["start"], each["end"]) for each in told] == [(0.0, 0.813), (0.9, 1.5)]
    assert told[0]["id"] != told[1]["id"]
    completed = talk.happens(happened.TranscriptCompleted(first, "Good morning.", 1.0))
    assert one(completed, "conversation.item.input_audio_transcription.completed")["transcript"] == "Good morning."


@doors
@pytest.mark.parametrize("model", ["gpt-4o-transcribe", "whisper-1"])
def test_models_that_tell_nobody_apart_have_no_segments(door: type[Talk], model: str) -> None:
    talk = door(audio={"input": {"transcription": {"model": model}}})
    item_id = heard(talk)
    assert segments(talk, item_id, happened.SegmentHeard(item_id, "Hello.", "A", 0.0, 1.0)) == []


def test_a_session_without_transcripts_has_no_segments() -> None:
    talk = Talk()
    item_id = heard(talk)
    assert segments(talk, item_id, happened.SegmentHeard(item_id, "Hello.", "A", 0.0, 1.0)) == []


def test_no_segment_comes_after_the_whole_transcript() -> None:
    talk = Talk(audio=DIARIZED)
    item_id = heard(talk)
    talk.happens(happened.TranscriptCompleted(item_id, "Hello.", 1.0))
    assert segments(talk, item_id, happened.SegmentHeard(item_id, "Hello.", "A", 0.0, 1.0)) == []
