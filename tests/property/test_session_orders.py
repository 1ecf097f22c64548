"""Whatever happens in whatever order: responses open once and close once, and every event is well formed."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.talk import Judged, JudgedOnSocket, Talk

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions

AFTER_THE_END = {
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "output_audio_buffer.cleared",
    "conversation.item.truncated",
}

runs = st.integers(1, 6)
ms = st.integers(0, 3000)
actions = st.one_of(
    st.tuples(st.just("voice_started")),
    st.tuples(st.just("voice_stopped")),
    st.tuples(st.just("voice_paused")),
    st.tuples(st.just("voice_resumed")),
    st.builds(happened.TextProduced, runs, st.sampled_from(["one ", "two three ", ""])).map(lambda e: ("input", e)),
    st.tuples(st.just("audio"), runs, ms, st.sampled_from(["", "one ", "two three "]), st.none() | st.integers(0, 2)),
    st.builds(happened.WordsFinished, runs).map(lambda e: ("input", e)),
    st.builds(happened.MessageEnded, runs).map(lambda e: ("input", e)),
    st.builds(happened.ToolCallStarted, runs, st.integers(0, 2), st.just("f")).map(lambda e: ("input", e)),
    st.builds(happened.ToolArgumentsProduced, runs, st.integers(0, 2), st.just('{"a":')).map(lambda e: ("input", e)),
    st.builds(happened.GenerationFinished, runs, st.sampled_from(["stop", "max_output_tokens"])).map(
        lambda e: ("input", e)
    ),
    st.builds(happened.GenerationFailed, runs, st.just("c"), st.just("m")).map(lambda e: ("input", e)),
    st.builds(happened.PlayoutStarted, runs).map(lambda e: ("input", e)),
    st.builds(happened.PlayoutAdvanced, runs, ms).map(lambda e: ("input", e)),
    st.builds(happened.PlayoutFinished, runs, ms).map(lambda e: ("input", e)),
    st.builds(happened.PlayoutStopped, runs, ms).map(lambda e: ("input", e)),
    st.builds(happened.FillerSpoken, runs, st.just((("one", 200.0), (" moment", 300.0)))).map(lambda e: ("input", e)),
    st.builds(happened.FillerMade, runs, st.just((happened.FillerSound(bytes(4800), 24000, 100.0),))).map(
        lambda e: ("input", e)
    ),
    st.builds(happened.FillerEnded, runs, ms).map(lambda e: ("input", e)),
    st.tuples(st.just("transcript"), st.booleans()),
    st.tuples(st.just("pause_heard"), st.sampled_from(["Okay.", "Stop.", "I want the", "", None])),
    st.tuples(st.just("wait"), st.floats(0, 7)),
    st.tuples(
        st.just("client"),
        st.sampled_from(
            [
                ("response.create", {}),
                ("response.create", {"response": {"conversation": "none", "output_modalities": ["text"]}}),
                ("response.create", {"response": {"input": []}}),
                ("response.cancel", {}),
                ("output_audio_buffer.clear", {}),
                ("input_audio_buffer.commit", {}),
                ("input_audio_buffer.clear", {}),
                ("session.update", {"session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}),
                *(
                    ("session.update", {"session": {"type": "realtime", "audio": {"input": {"turn_detection": each}}}})
                    for each in (
                        {"type": "server_vad", "idle_timeout_ms": 5000},
                        {"type": "semantic_vad", "eagerness": "high"},
                    )
                ),
            ]
        ),
    ),
    st.tuples(st.just("item"), st.sampled_from(["delete", "retrieve", "truncate"]), st.integers(0, 5)),
)


def perform(talk: Talk, action: tuple[Any, ...]) -> None:
    match action:
        case ("voice_started",):
            talk.happens(happened.VoiceStarted(talk.input_ms))
        case ("voice_paused",):
            talk.happens(happened.VoicePaused(talk.input_ms, talk.input_ms + 120))
        case ("voice_resumed",):
            talk.happens(happened.VoiceResumed())
        case ("voice_stopped",):
            talk.happens(happened.VoiceStopped(talk.input_ms, talk.input_ms + 500))
        case ("input", happened.PlayoutFinished(run=run)) if do.FinishPlayout(run) not in talk.done:
            pass  # the playout cannot know that no more comes before it is told
        case ("input", event):
            talk.happens(event)
        case ("audio", run, length, text, message):
            talk.happens(happened.AudioProduced(run, bytes(16 * length), 8000, length, text, message))
        case ("transcript", works):
            item_id = talk.last(do.Hear).item_id if talk.count(do.Hear) else "item_x"
            done = happened.TranscriptCompleted(item_id, "hi", 1.0)
            talk.happens(done if works else happened.TranscriptFailed(item_id, "c", "m"))
        case ("pause_heard", text):
            item_id = talk.last(do.HearEarly).item_id if talk.count(do.HearEarly) else "item_x"
            talk.happens(happened.PauseHeard(item_id, text))
        case ("wait", seconds):
            talk.waits(seconds)
        case ("client", (type_, members)):
            talk.client(type_, **members)
        case ("item", verb, number):
            ids = [str(item.id) for item in talk.engine.conversation] or ["item_x"]
            members = {"content_index": 0, "audio_end_ms": 100} if verb == "truncate" else {}
            talk.client(f"conversation.item.{verb}", item_id=ids[number % len(ids)], **members)


def response_id_of(event: dict[str, Any]) -> str | None:
    found = event.get("response_id") or event.get("response", {}).get("id")
    return str(found) if found else None


detections = st.sampled_from([{"type": "server_vad"}, {"type": "semantic_vad"}])


@given(st.lists(actions, max_size=40), st.booleans(), detections)
@settings(max_examples=200)
def test_any_order_of_inputs_keeps_the_promises(
    script: list[tuple[Any, ...]], needs_transcripts: bool, detection: dict[str, str]
) -> None:
    talk = Judged(
        options=EngineOptions(needs_transcripts=needs_transcripts, hears_early=True),
        audio={"input": {"transcription": {"model": "whisper-1"}, "turn_detection": detection}},
        offhook={"speak_first": "Hello.", "while_waiting": {"say": "one moment", "after_ms": 500}},
    )
    for action in script:
        perform(talk, action)
    talk.ends()
    keeps_the_promises(talk)


@given(st.lists(actions | st.tuples(st.just("append"), st.integers(0, 500)), max_size=40), st.booleans())
@settings(max_examples=100)
def test_any_order_of_inputs_keeps_the_promises_on_a_socket(
    script: list[tuple[Any, ...]], needs_transcripts: bool
) -> None:
    talk = JudgedOnSocket(
        options=EngineOptions(needs_transcripts=needs_transcripts),
        audio={"input": {"transcription": {"model": "whisper-1"}}},
        offhook={"while_waiting": {"say": "one moment", "after_ms": 500}},
    )
    for action in script:
        if action[0] == "append":
            talk.appends(action[1])
        else:
            perform(talk, action)
    talk.ends()
    keeps_the_promises(talk)
    done = set()
    for event in talk.sent:
        if event["type"] == "response.output_audio.done":
            done.add(event["item_id"])
        if event["type"] == "response.output_audio.delta":
            assert event["item_id"] not in done, "a message is done when its sound is"
    assert not any(isinstance(each, do.Play | do.StopPlayout | do.FinishPlayout) for each in talk.done)
    assert not any(event["type"].startswith("output_audio_buffer.") for event in talk.sent)


def keeps_the_promises(talk: Talk) -> None:
    ids = Counter(event["event_id"] for event in talk.sent)
    assert max(ids.values(), default=1) == 1, "event ids are unique"
    opened: set[str] = set()
    closed: set[str] = set()
    items_added: set[str] = set()
    items_done: set[str] = set()
    for event in talk.sent:
        kind, response_id = event["type"], response_id_of(event)
        if kind == "response.created":
            assert response_id not in opened
            opened.add(str(response_id))
        elif response_id is not None and kind not in AFTER_THE_END:
            assert response_id in opened, (kind, "before its response")
            assert response_id not in closed, (kind, "after the end of its response")
        if kind == "response.done":
            closed.add(str(response_id))
        if kind == "response.output_item.added":
            items_added.add(event["item"]["id"])
        if kind == "response.output_item.done":
            assert event["item"]["id"] in items_added
            assert event["item"]["id"] not in items_done
            items_done.add(event["item"]["id"])
    assert opened == closed
    assert items_added == items_done
    if talk.engine.turns.spoken_item_id is None:
        ducks = [each.ducked for each in talk.done if isinstance(each, do.Duck)]
        assert not any(ducks[-1:]), "an agent is soft only while the caller speaks"
    plays = [each.run for each in talk.done if isinstance(each, do.Play)]
    finished = {each.run for each in talk.done if isinstance(each, do.FinishPlayout)}
    stopped = talk.count(do.StopPlayout)
    assert set(plays) <= finished or stopped, "every run that was played is finished or stopped"


@given(st.lists(actions, max_size=30))
@settings(max_examples=60)
def test_the_same_inputs_give_the_same_events(script: list[tuple[Any, ...]]) -> None:
    first, second = Talk(), Talk()
    for action in script:
        perform(first, action)
        perform(second, action)
    assert first.sent == second.sent
