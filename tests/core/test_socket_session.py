"""A conversation on a socket of its own: what differs from a telephone call, event by event."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.core.talk import SocketTalk, TranscriptionTalk, one, types

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.engine import EngineOptions
from offhook.wire import limits
from offhook.wire.session import PcmFormat, PcmuFormat

MANUAL = {"audio": {"input": {"turn_detection": None}}}
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}


def sound(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"
    )


def test_the_session_is_told_first() -> None:
    talk = SocketTalk(instructions="Be brief.", audio={"output": {"format": {"type": "audio/pcmu"}}})
    assert types(talk.sent) == ["session.created"]
    session = talk.sent[0]["session"]
    assert (session["type"], session["instructions"]) == ("realtime", "Be brief.")
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcmu"}


def test_a_manual_turn_waits_for_the_client() -> None:
    talk = SocketTalk(**MANUAL)
    assert talk.appends(60) == []
    error = one(talk.client("input_audio_buffer.commit", event_id="e1"), "error")["error"]
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "e1")
    assert "only has 60.00ms" in error["message"]
    talk.appends(60)
    events = talk.client("input_audio_buffer.commit")
    assert types(events) == ["input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"]
    heard = talk.last(do.Hear)
    assert (heard.start_ms, heard.end_ms) == (0, 120)
    assert talk.count(do.Generate) == 0
    assert types(talk.client("response.create")) == ["response.created"]
    assert talk.generate().items[-1].id == events[0]["item_id"]


def test_what_was_cleared_is_in_no_turn() -> None:
    talk = SocketTalk(**MANUAL)
    talk.appends(500)
    assert types(talk.client("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    talk.appends(200)
    talk.client("input_audio_buffer.commit")
    assert (talk.last(do.Hear).start_ms, talk.last(do.Hear).end_ms) == (500, 700)


@pytest.mark.parametrize(
    ("audio", "why"),
    [
        ("!!!!", "base64"),
        ("AAA", "base64"),
        ("AAAA\n", "base64"),
        ("AAAA=", "base64"),
        ("AA AA", "base64"),
        ("\u00e4AAA", "base64"),
        (base64.b64encode(b"123").decode(), "even number"),
        ("AAAA" * (limits.MAX_APPEND_BYTES // 3 + 2), "at most"),
    ],
    ids=[
        "no alphabet",
        "no padding",
        "line break",
        "more padding",
        "blank",
        "no ASCII",
        "half a sample",
        "too much",
    ],
)
def test_what_is_no_audio_is_refused_and_the_session_goes_on(audio: str, why: str) -> None:
    talk = SocketTalk()
    error = one(talk.client("input_audio_buffer.append", audio=audio, event_id="e7"), "error")["error"]
    assert (error["code"], error["param"], error["event_id"]) == ("invalid_value", "audio", "e7")
    assert why in error["message"]
    assert (talk.input_ms, talk.count(do.TakeInput)) == (0, 0)
    talk.appends(100)
    assert talk.input_ms == 100


def test_an_odd_number_of_bytes_is_fine_in_g711() -> None:
    talk = SocketTalk(audio={"input": {"format": {"type": "audio/pcmu"}}})
    assert talk.client("input_audio_buffer.append", audio=base64.b64encode(b"\xff" * 81).decode()) == []
    assert talk.last(do.TakeInput) == do.TakeInput(b"\xff" * 81, PcmuFormat())
    assert talk.input_ms == 10


def test_the_input_format_may_change_between_two_appends() -> None:
    talk = SocketTalk(**MANUAL)
    talk.appends(100)
    events = talk.client(
        "session.update", session={"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcma"}}}}
    )
    assert one(events, "session.updated")["session"]["audio"]["input"]["format"] == {"type": "audio/pcma"}
    talk.appends(100)
    assert talk.input_ms == 200
    talk.client("input_audio_buffer.commit")
    assert (talk.last(do.Hear).start_ms, talk.last(do.Hear).end_ms) == (0, 200)


def test_there_is_nothing_of_the_servers_to_clear() -> None:
    error = one(SocketTalk().client("output_audio_buffer.clear"), "error")["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "type")


def test_an_answer_comes_in_deltas_of_a_fifth_of_a_second_to_the_sample() -> None:
    talk = SocketTalk()
    talk.says()
    run = talk.generate().run
    pcm = bytes(range(256)) * 90  # 480 ms
    events = talk.happens(happened.AudioProduced(run, pcm, 24000, 480.0, "Good morning."))
    deltas = [event for event in events if event["type"] == "response.output_audio.delta"]
    assert [len(base64.b64decode(each["delta"])) for each in deltas] == [9600, 9600, 3840]
    assert sound(events) == pcm
    assert {each["item_id"] for each in deltas} == {one(events, "response.output_item.added")["item"]["id"]}
    assert talk.count(do.Play) == 0


@pytest.mark.parametrize(("name", "size"), [("pcm", 48000), ("pcmu", 8000), ("pcma", 8000)])
@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 22050])
def test_every_voice_is_converted_without_losing_its_end(name: str, size: int, rate_hz: int) -> None:
    talk = SocketTalk(audio={"output": {"format": {"type": f"audio/{name}"}}})
    talk.client("response.create")
    run = talk.generate().run
    events = []
    for _ in range(10):
        events += talk.happens(happened.AudioProduced(run, bytes(rate_hz // 10 * 2), rate_hz, 100.0))
    events += talk.happens(happened.GenerationFinished(run))
    assert abs(len(sound(events)) - size) <= 2
    kinds = types(events)
    last = len(kinds) - 1 - kinds[::-1].index("response.output_audio.delta")
    assert last < kinds.index("response.output_audio.done")


def test_a_response_keeps_the_format_that_it_began_with() -> None:
    talk = SocketTalk()
    talk.client("response.create")
    talk.client("session.update", session={"type": "realtime", "audio": {"output": {"format": {"type": "audio/pcmu"}}}})
    assert len(sound(talk.audio(talk.generate().run, 100))) == 4800
    talk.happens(happened.GenerationFinished(talk.generate().run))
    talk.client("response.create")
    assert 700 <= len(sound(talk.audio(talk.generate().run, 100))) <= 800
    talk.happens(happened.GenerationFinished(talk.generate().run))
    talk.client("response.create", response={"audio": {"output": {"format": {"type": "audio/pcm"}}}})
    assert len(sound(talk.audio(talk.generate().run, 100))) == 4800


def test_an_interrupted_answer_is_cancelled_and_the_client_says_what_was_heard() -> None:
    talk = SocketTalk()
    talk.says()
    run = talk.generate().run
    text = "One two three four five six seven eight nine ten."
    talk.happens(happened.TextProduced(run, text))
    talk.audio(run, 4000, text)
    talk.appends(300)
    events = talk.happens(happened.VoiceStarted(talk.input_ms - 100))
    assert types(events) == [
        "input_audio_buffer.speech_started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    done = one(events, "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "turn_detected")
    item = one(events, "conversation.item.done")["item"]
    assert (item["status"], item["content"][0]["transcript"]) == ("incomplete", text)
    assert talk.last(do.CancelGeneration).run == run
    assert talk.audio(run, 100) == [], "what the model still says is not sent"
    members = {"item_id": item["id"], "content_index": 0}
    events = talk.client("conversation.item.truncate", **members, audio_end_ms=2000)
    truncated = one(events, "conversation.item.truncated")
    assert (truncated["item_id"], truncated["audio_end_ms"]) == (item["id"], 2000)
    said = talk.client("conversation.item.retrieve", item_id=item["id"])[0]["item"]["content"][0]["transcript"]
    assert said == text[: len(said)]
    assert 0 < len(said) <= len(text) // 2
    error = one(talk.client("conversation.item.truncate", **members, audio_end_ms=4001), "error")["error"]
    assert error["code"] == "invalid_value"


def test_an_answer_that_was_sent_whole_may_still_be_truncated() -> None:
    talk = SocketTalk()
    talk.says()
    events = talk.answers("One two three four.", 2000)
    assert one(events, "response.done")["response"]["status"] == "completed"
    item = one(events, "conversation.item.done")["item"]
    talk.appends(500)
    assert types(talk.happens(happened.VoiceStarted(talk.input_ms))) == ["input_audio_buffer.speech_started"]
    talk.client("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=1000)
    shown = talk.client("conversation.item.retrieve", item_id=item["id"])[0]["item"]
    assert (shown["status"], shown["content"][0]["transcript"]) == ("incomplete", "One two")


def test_sound_that_comes_after_a_function_call_belongs_to_its_message_and_comes_before_its_end() -> None:
    talk = SocketTalk(tools=[TOOL])
    talk.client("response.create")
    run = talk.generate().run
    events = talk.happens(happened.TextProduced(run, "Let me see."))
    events += talk.happens(happened.ToolCallStarted(run, 0, "look_up"))
    events += talk.happens(happened.ToolArgumentsProduced(run, 0, "{}"))
    events += talk.happens(happened.WordsFinished(run))
    call = one(events, "response.function_call_arguments.done")
    events += talk.happens(happened.AudioProduced(run, bytes(9600), 24000, 200.0, "Let me see.", 0))
    events += talk.happens(happened.GenerationFinished(run))
    message = one(events, "response.output_audio.done")["item_id"]
    delta = one(events, "response.output_audio.delta")
    assert (delta["item_id"], delta["output_index"]) == (message, 0)
    assert types(events).index("response.output_audio.delta") < types(events).index("response.output_audio.done")
    output = one(events, "response.done")["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    assert output[1]["id"] == call["item_id"]
    assert output[0]["status"] == "completed"


def test_the_silence_after_an_answer_begins_when_the_client_has_played_it() -> None:
    talk = SocketTalk(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
    talk.says()
    talk.answers("A long answer.", 8000)
    assert talk.waits(12.9) == []
    events = talk.waits(0.2)
    assert types(events)[0] == "input_audio_buffer.timeout_triggered"
    assert types(events)[-1] == "response.created"


def test_a_client_that_interrupts_stops_playing() -> None:
    talk = SocketTalk(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5000}}})
    talk.says()
    talk.answers("A long answer.", 60_000)
    talk.says(200)
    talk.answers("Yes.", 1000)
    assert talk.waits(5.9) == []
    assert types(talk.waits(0.2))[0] == "input_audio_buffer.timeout_triggered"


def test_out_of_band_answers_have_their_sound_too() -> None:
    talk = SocketTalk()
    talk.client("response.create", response={"conversation": "none", "metadata": {"for": "greeting"}})
    events = talk.audio(talk.generate().run, 100, "Hello.")
    assert len(sound(events)) == 4800
    assert not [kind for kind in types(events) if kind.startswith("conversation.")]


# -- transcription


def test_a_transcription_session_gives_words_and_never_answers() -> None:
    talk = TranscriptionTalk(audio={"input": {"transcription": {"model": "whisper-1", "language": "en"}}})
    assert types(talk.sent) == ["session.created"]
    session = talk.sent[0]["session"]
    assert (session["type"], session["object"]) == ("transcription", "realtime.transcription_session")
    assert session["audio"]["input"]["transcription"] == {"model": "whisper-1", "language": "en", "prompt": None}
    assert set(session["audio"]["input"]["turn_detection"]) == {
        "type",
        "threshold",
        "prefix_padding_ms",
        "silence_duration_ms",
    }
    events = talk.says()
    assert types(events) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    item_id = talk.last(do.Hear).item_id
    events = talk.happens(happened.TranscriptGrew(item_id, "Good morning."))
    events += talk.happens(happened.TranscriptCompleted(item_id, "Good morning.", 1.5))
    assert types(events) == [
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
    ]
    assert talk.count(do.Generate) == 0


def test_a_transcription_session_says_what_transcribes_even_if_nobody_named_it() -> None:
    talk = TranscriptionTalk(audio={"input": {"transcription": {"language": "en"}}})
    shown = talk.sent[0]["session"]["audio"]["input"]["transcription"]
    assert (shown["model"], shown["language"]) == ("whisper-1", "en")
    for given, seen in ((None, None), ({"language": "de"}, ("whisper-1", "de"))):
        session = {"type": "transcription", "audio": {"input": {"transcription": given}}}
        shown = one(talk.client("session.update", session=session), "session.updated")["session"]["audio"]["input"]
        assert (
            shown["transcription"] and (shown["transcription"]["model"], shown["transcription"]["language"])
        ) == seen


@pytest.mark.parametrize(
    ("type_", "members"),
    [
        ("response.create", {}),
        ("response.cancel", {}),
        ("output_audio_buffer.clear", {}),
        ("conversation.item.create", {"item": {"type": "message", "role": "user", "content": []}}),
        ("conversation.item.truncate", {"item_id": "x", "content_index": 0, "audio_end_ms": 0}),
    ],
)
def test_a_transcription_session_refuses_what_is_about_answers(type_: str, members: dict[str, Any]) -> None:
    error = one(TranscriptionTalk().client(type_, **members), "error")["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "type")
    assert type_ in error["message"]


def test_a_transcription_session_is_updated_in_its_own_shape() -> None:
    talk = TranscriptionTalk()
    update = {"type": "transcription", "audio": {"input": {"turn_detection": None, "format": {"type": "audio/pcmu"}}}}
    session = one(talk.client("session.update", session=update), "session.updated")["session"]
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert talk.last(do.ConfigureTurns).turn_detection is None
    talk.appends(200)
    assert types(talk.client("input_audio_buffer.commit"))[0] == "input_audio_buffer.committed"
    error = one(talk.client("session.update", session={"type": "realtime"}), "error")["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "session.type")
    error = one(talk.client("session.update", session={"type": "transcription", "voice": "ash"}), "error")["error"]
    assert (error["code"], error["param"]) == ("unknown_parameter", "session.voice")
    again = {"type": "transcription", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
    talk.client("session.update", session=again)
    assert talk.says()[-1]["type"] == "conversation.item.done"
    assert talk.count(do.Generate) == 0
    assert talk.engine.session.audio.input.format != PcmFormat()


# -- audio as an item


def audio_item(**members: Any) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_audio", **members}]}


def test_audio_that_is_added_as_an_item_is_transcribed_and_answered() -> None:
    talk = SocketTalk(
        options=EngineOptions(needs_transcripts=True), audio={"input": {"transcription": {"model": "whisper-1"}}}
    )
    events = talk.client("conversation.item.create", item=audio_item(audio=base64.b64encode(bytes(4800)).decode()))
    assert types(events) == ["conversation.item.added", "conversation.item.done"]
    item = events[-1]["item"]
    assert item["content"] == [{"type": "input_audio", "transcript": None}]
    given = talk.last(do.HearGiven)
    assert (given.item_id, given.audio, given.format) == (item["id"], bytes(4800), PcmFormat())
    talk.client("response.create")
    assert talk.count(do.Generate) == 0, "the model reads words, which are not known yet"
    events = talk.happens(happened.TranscriptCompleted(item["id"], "Good morning.", 0.1))
    assert types(events) == ["conversation.item.input_audio_transcription.completed"]
    (read,) = talk.generate().items
    assert read.content[0].transcript == "Good morning."  # type: ignore[union-attr]
    assert talk.input_ms == 0, "it is no part of the input buffer"


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (audio_item(), "item.content[0].audio"),
        (audio_item(audio="!"), "item.content[0].audio"),
        (audio_item(audio="AAAA"), "item.content[0].audio"),
        (
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Hear this:"}, {"type": "input_audio", "audio": "AAA="}],
            },
            "item.content[1]",
        ),
    ],
    ids=["none", "no base64", "half a sample", "beside words"],
)
def test_an_item_whose_audio_cannot_be_heard_is_refused(item: dict[str, Any], param: str) -> None:
    talk = SocketTalk()
    error = one(talk.client("conversation.item.create", item=item), "error")["error"]
    assert error["param"] == param
    assert len(talk.engine.conversation) == 0


def test_an_error_repeats_no_more_of_an_endless_event_id_than_an_id_may_have() -> None:
    details = one(SocketTalk().client("response.cancel", event_id="x" * 100_000), "error")["error"]
    assert (details["param"], details["event_id"]) == ("event_id", "x" * 512)
