"""Turns under semantic_vad: the words decide when the caller has finished, and what interrupts the agent."""

from __future__ import annotations

from typing import Any

import pytest
from tests.core.talk import SocketTalk, Talk, one, types

from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.session.options import EngineOptions
from offhook.session.semantic import ANSWER_MS, NOD_MS, NOD_WORDS_MS

PAUSE_MS = 100


def semantic_talk(*, hears_early: bool = True, **detection: Any) -> Talk:
    options = EngineOptions(needs_transcripts=False, hears_early=hears_early)
    return Talk(options=options, audio={"input": {"turn_detection": {"type": "semantic_vad", **detection}}})


def starts(talk: Talk, *, late_ms: int = 60) -> list[dict[str, Any]]:
    """The caller begins to speak; that is known a little later."""
    at_ms = talk.input_ms
    talk.now += late_ms / 1000
    return talk.happens(happened.VoiceStarted(at_ms))


def pauses(talk: Talk) -> list[dict[str, Any]]:
    """The caller is silent since ``PAUSE_MS``."""
    talk.now += PAUSE_MS / 1000
    return talk.happens(happened.VoicePaused(talk.input_ms - PAUSE_MS, talk.input_ms))


def hears(talk: Talk, text: str | None, *, after_s: float = 0.1, **rest: Any) -> list[dict[str, Any]]:
    """The recogniser has the words before the pause."""
    events = talk.waits(after_s)
    return events + talk.happens(happened.PauseHeard(talk.last(do.HearEarly).item_id, text, **rest))


def ends(talk: Talk, *, silent_ms: int = 300) -> list[dict[str, Any]]:
    """The audio plane ends the turn as it was told."""
    return talk.happens(happened.VoiceStopped(talk.input_ms - silent_ms, talk.input_ms))


def silence_ms(talk: Talk) -> int:
    """How long the caller has to be silent from the beginning of the pause until the turn is ended."""
    began = talk.now - PAUSE_MS / 1000
    while not talk.count(do.EndTurn):
        deadline = talk.engine.next_deadline()
        assert deadline is not None
        talk.waits(max(deadline - talk.now, 0.0))
    return round((talk.now - began) * 1000)


def says(text: str | None, talk: Talk, **rest: Any) -> int:
    """The caller says something; return the silence that ends it."""
    starts(talk)
    talk.waits(1.0)
    pauses(talk)
    began = talk.now - PAUSE_MS / 1000
    hears(talk, text, **rest)
    if not talk.count(do.EndTurn):
        talk.waits(9.0 if talk.engine.next_deadline() is None else talk.engine.next_deadline() - talk.now)  # type: ignore[operator]
    assert talk.count(do.EndTurn) == 1
    return round((talk.now - began) * 1000)


# -- when a turn is over


@pytest.mark.parametrize(
    ("eagerness", "whole", "may_go_on", "cut", "unheard"),
    [("high", 200, 450, 900, 400), ("medium", 240, 700, 1600, 700), ("auto", 240, 700, 1600, 700),
     ("low", 400, 1200, 3000, 1200)],
)  # fmt: skip
def test_how_long_a_caller_may_be_silent_goes_by_the_words_and_by_eagerness(
    eagerness: str, whole: int, may_go_on: int, cut: int, unheard: int
) -> None:
    def after(text: str | None) -> int:
        return says(text, semantic_talk(eagerness=eagerness))

    assert after("I would like a table for two.") == whole
    assert after("I would like a table") == may_go_on
    assert after("I would like a table for") == cut
    assert after(None) == unheard


def test_words_that_come_late_end_a_whole_turn_at_once() -> None:
    assert says("That is all.", semantic_talk(), after_s=0.45) == 550


def test_words_that_never_come_are_not_waited_for_for_ever() -> None:
    talk = semantic_talk()
    starts(talk)
    pauses(talk)
    assert silence_ms(talk) == 1600


def test_of_another_language_the_function_words_are_not_read() -> None:
    assert says("Was kostet die.", semantic_talk(), language="de") == 240
    assert says("Was kostet the.", semantic_talk(), language="en") == 1600


@pytest.mark.parametrize(
    ("text", "over", "expected"),
    [
        ("I want it.", 0.9, 240),
        ("I want it.", 0.1, 700),
        ("I want the", 0.9, 1600),
        (None, 0.9, 240),
        (None, 0.1, 1600),
    ],
)
def test_a_detector_of_sound_delays_words_that_only_look_whole(text: str | None, over: float, expected: int) -> None:
    assert says(text, semantic_talk(), over=over) == expected


@pytest.mark.parametrize(("sure", "expected"), [(0.9, 240), (0.3, 700), (None, 240)])
def test_an_end_of_which_the_recogniser_is_not_sure_is_no_end_yet(sure: float | None, expected: int) -> None:
    assert says("I want it.", semantic_talk(), sure=sure) == expected


def test_a_caller_who_speaks_on_is_not_ended() -> None:
    talk = semantic_talk()
    starts(talk)
    pauses(talk)
    talk.happens(happened.VoiceResumed())
    assert talk.count(do.DropEarly) == 1
    talk.waits(10)
    assert talk.count(do.EndTurn) == 0
    pauses(talk)
    hears(talk, "That is all.")
    talk.waits(0.1)
    assert talk.count(do.EndTurn) == 1


def test_the_events_of_a_turn_come_in_the_order_of_live_traffic() -> None:
    talk = semantic_talk()
    events = starts(talk)
    talk.waits(1.0)
    events += pauses(talk) + hears(talk, "That is all.") + talk.waits(0.1) + ends(talk)
    assert types(events) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    early, heard = talk.last(do.HearEarly), talk.last(do.Hear)
    assert early.tell
    assert (early.item_id, early.start_ms) == (heard.item_id, heard.start_ms)


def test_server_vad_keeps_its_literal_times() -> None:
    talk = Talk(options=EngineOptions(needs_transcripts=False, hears_early=True))
    starts(talk)
    pauses(talk)
    assert not talk.last(do.HearEarly).tell
    hears(talk, "That is all.")
    talk.waits(10)
    assert talk.count(do.EndTurn) == 0


def test_words_of_an_item_that_the_client_committed_end_nothing() -> None:
    talk = semantic_talk()
    starts(talk)
    talk.waits(0.5)
    pauses(talk)
    item_id = talk.last(do.HearEarly).item_id
    talk.client("input_audio_buffer.commit")
    talk.happens(happened.PauseHeard(item_id, "That is all."))
    talk.waits(0.5)
    assert talk.count(do.EndTurn) == 0


@pytest.mark.parametrize("detection", [None, {"type": "server_vad"}])
def test_an_update_in_a_pause_leaves_its_end_to_the_new_detection(detection: dict[str, Any] | None) -> None:
    talk = semantic_talk()
    starts(talk)
    pauses(talk)
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    assert talk.engine.next_deadline() is None


@pytest.mark.parametrize(("eagerness", "expected"), [("low", 1200), ("high", 400)])
def test_an_update_in_a_pause_does_not_leave_the_line_dead(eagerness: str, expected: int) -> None:
    talk = semantic_talk(eagerness="medium")
    starts(talk)
    pauses(talk)
    detection = {"type": "semantic_vad", "eagerness": eagerness}
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    assert silence_ms(talk) == expected


def test_words_that_come_after_an_update_in_a_pause_end_the_turn_by_the_new_patience() -> None:
    talk = semantic_talk(eagerness="low")
    starts(talk)
    pauses(talk)
    detection = {"type": "semantic_vad", "eagerness": "high"}
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": detection}}})
    hears(talk, "That is all.", after_s=0.15)
    assert talk.count(do.EndTurn) == 1


def updates(talk: Talk, **detection: Any) -> list[dict[str, Any]]:
    given = detection or None
    return talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": given}}})


def test_a_pause_that_was_told_before_the_words_counted_does_not_leave_the_line_dead() -> None:
    """Under server_vad the audio plane would have ended it; after the update it leaves that to the conversation."""
    talk = semantic_talk()
    updates(talk, type="server_vad")
    starts(talk)
    pauses(talk)
    assert talk.engine.next_deadline() is None
    updates(talk, type="semantic_vad", eagerness="medium")
    assert silence_ms(talk) == 700
    assert talk.count(do.EndTurn) == 1


def test_a_pause_that_has_lasted_ends_the_turn_as_soon_as_the_words_count() -> None:
    talk = semantic_talk()
    updates(talk, type="server_vad", silence_duration_ms=3000)
    starts(talk)
    pauses(talk)
    talk.waits(2.0)
    updates(talk, type="semantic_vad")
    talk.waits(0.0)
    assert talk.count(do.EndTurn) == 1


def test_an_update_after_the_caller_spoke_on_ends_nothing() -> None:
    talk = semantic_talk()
    updates(talk, type="server_vad")
    starts(talk)
    pauses(talk)
    talk.happens(happened.VoiceResumed())
    updates(talk, type="semantic_vad")
    assert talk.engine.next_deadline() is None


# -- what interrupts the agent


def agent_speaks(talk: Talk, *, left_ms: int = 6000, finished: bool = True) -> int:
    """The caller has said something, and the agent is answering; return its run."""
    talk.says()
    run = talk.generate().run
    talk.happens(happened.TextProduced(run, "one two three four five six seven eight"))
    talk.audio(run, 1000 + left_ms, "one two three four five six seven eight")
    if finished:
        talk.happens(happened.GenerationFinished(run))
    talk.happens(happened.PlayoutStarted(run))
    talk.happens(happened.PlayoutAdvanced(run, 1000), after_s=1.0)
    return run


def was_stopped(talk: Talk) -> bool:
    return talk.count(do.StopPlayout) == 1


def test_hmm_or_ok_does_not_interrupt_the_agent() -> None:
    """Complaint 33: "hmm" and "ok" stopped the agent. It goes on, softer for a moment, and nobody answers the nod."""
    talk = semantic_talk()
    agent_speaks(talk)
    events = starts(talk)
    assert talk.last(do.Duck).ducked
    talk.waits(0.4)
    events += pauses(talk) + hears(talk, "Okay.") + talk.waits(0.1) + ends(talk)
    assert types(events) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert talk.count(do.Generate) == 1
    assert not was_stopped(talk)
    assert not talk.last(do.Duck).ducked
    assert talk.last(do.Hear).item_id == one(events, "input_audio_buffer.committed")["item_id"], "its words are told"


def test_the_agent_ducks_first_and_stops_on_confirmation() -> None:
    """Complaint 32: the agent was cut at the first sound. It goes on, softly, until that is more than a nod."""
    talk = semantic_talk()
    run = agent_speaks(talk)
    starts(talk)
    talk.waits(NOD_MS / 1000 - 0.061)
    assert talk.last(do.Duck).ducked
    assert not was_stopped(talk)
    talk.waits(0.002)
    assert was_stopped(talk)
    assert not talk.last(do.Duck).ducked
    events = talk.happens(happened.PlayoutStopped(run, 1700))
    assert types(events) == ["output_audio_buffer.cleared", "conversation.item.truncated"]


def test_a_server_that_was_busy_takes_no_nod_for_an_interruption() -> None:
    """It learns late that somebody spoke, and in the same moment that it was short."""
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk, late_ms=2000)
    assert talk.waits(0.0) == []
    talk.happens(happened.VoicePaused(talk.input_ms - 1500, talk.input_ms))
    hears(talk, "Okay.", after_s=0.2)
    talk.waits(0.2)
    ends(talk)
    assert not was_stopped(talk)


def test_a_short_word_that_is_no_nod_interrupts_as_soon_as_it_is_understood() -> None:
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk)
    talk.waits(0.2)
    pauses(talk)
    assert not was_stopped(talk)
    hears(talk, "Stop.")
    assert was_stopped(talk)
    talk.waits(0.2)
    assert "response.created" in types(ends(talk))


def test_false_speech_started_does_not_cut_the_agent_off() -> None:
    """Complaint 25: a cough or an echo was taken for speech, and the agent fell silent."""
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk)
    talk.waits(0.1)
    pauses(talk)
    hears(talk, "")
    talk.waits(0.7)
    assert types(ends(talk))[-1] == "conversation.item.done"
    assert not was_stopped(talk)
    assert talk.count(do.Generate) == 1


def test_the_agent_does_not_hang_after_small_interruptions() -> None:
    """Complaint 38: after a nod the agent neither went on nor answered the next turn."""
    talk = semantic_talk()
    run = agent_speaks(talk)
    for _ in range(3):
        starts(talk)
        talk.waits(0.3)
        pauses(talk)
        hears(talk, "Yeah.")
        talk.waits(0.1)
        ends(talk)
    assert types(talk.happens(happened.PlayoutFinished(run, 7000))) == ["output_audio_buffer.stopped"]
    starts(talk)
    talk.waits(0.3)
    pauses(talk)
    hears(talk, "Yeah.")
    talk.waits(0.2)
    assert "response.created" in types(ends(talk)), "when the agent is silent, a nod is an answer"
    assert talk.engine.next_deadline() is None


def test_yes_in_the_last_moment_of_a_question_is_an_answer() -> None:
    talk = semantic_talk()
    agent_speaks(talk, left_ms=ANSWER_MS)
    starts(talk)
    talk.waits(0.3)
    pauses(talk)
    hears(talk, "Yes.")
    talk.waits(0.2)
    assert "response.created" in types(ends(talk))
    assert not was_stopped(talk), "the rest of the question is heard"


def test_a_nod_while_the_model_is_thinking_cancels_nothing() -> None:
    talk = semantic_talk()
    talk.says()
    starts(talk)
    talk.waits(0.3)
    pauses(talk)
    hears(talk, "Mm-hm.")
    talk.waits(0.2)
    ends(talk)
    assert talk.count(do.CancelGeneration) == 0
    assert talk.count(do.Generate) == 1


def test_a_nod_with_which_the_caller_speaks_on_interrupts() -> None:
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk)
    talk.waits(0.3)
    pauses(talk)
    hears(talk, "Okay.")
    talk.happens(happened.VoiceResumed())
    assert not was_stopped(talk)
    talk.waits(NOD_MS / 1000)
    assert was_stopped(talk)


def test_speech_whose_words_nobody_can_tell_interrupts() -> None:
    for how in ("refused", "late"):
        talk = semantic_talk()
        agent_speaks(talk)
        starts(talk)
        talk.waits(0.3)
        pauses(talk)
        if how == "refused":
            hears(talk, None, after_s=0.0)
        else:
            talk.waits(NOD_WORDS_MS / 1000 + 0.01)
        assert was_stopped(talk)


@pytest.mark.parametrize("detection", ["server_vad", "semantic_vad without early words"])
def test_where_words_do_not_count_every_speech_interrupts_at_once(detection: str) -> None:
    talk = semantic_talk(hears_early=False) if detection != "server_vad" else Talk()
    agent_speaks(talk)
    starts(talk)
    assert was_stopped(talk)
    assert talk.count(do.Duck) == 0


def test_a_client_that_plays_by_itself_is_interrupted_at_once() -> None:
    """It stops playing at ``speech_started``: an answer that went on after that would be heard in pieces."""
    options = EngineOptions(needs_transcripts=False, hears_early=True)
    talk = SocketTalk(options=options, audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
    talk.client("response.create")
    run = talk.generate().run
    talk.audio(run, 400, "one two ")
    talk.happens(happened.VoiceStarted(talk.input_ms))
    assert talk.last(do.CancelGeneration).run == run
    assert talk.count(do.Duck) == 0


def test_with_interrupt_response_off_nothing_is_doubted() -> None:
    talk = semantic_talk(interrupt_response=False)
    agent_speaks(talk)
    starts(talk)
    talk.waits(2)
    assert not was_stopped(talk)
    assert talk.count(do.Duck) == 0


def test_an_update_while_it_is_doubted_makes_the_agent_loud_again() -> None:
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk)
    talk.client("session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    assert not talk.last(do.Duck).ducked
    talk.waits(2)
    assert not was_stopped(talk)


# -- an update while it is not known yet whether the caller interrupts


def test_a_doubt_outlives_an_update_that_goes_on_doubting() -> None:
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk)
    updates(talk, type="semantic_vad", eagerness="high")
    assert talk.last(do.Duck).ducked
    talk.waits(NOD_MS / 1000)
    assert was_stopped(talk)
    assert not talk.last(do.Duck).ducked


def test_with_server_vad_the_speech_that_was_doubted_is_an_interruption() -> None:
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk)
    assert types(updates(talk, type="server_vad")) == ["session.updated"], "the update is answered first"
    talk.waits(0.0)
    assert was_stopped(talk)
    assert not talk.last(do.Duck).ducked


@pytest.mark.parametrize("detection", [{}, {"type": "semantic_vad", "interrupt_response": False}])
def test_a_doubt_is_dropped_where_nothing_interrupts_any_more(detection: dict[str, Any]) -> None:
    talk = semantic_talk()
    agent_speaks(talk)
    starts(talk)
    updates(talk, **detection)
    assert not talk.last(do.Duck).ducked
    talk.waits(2.0)
    assert not was_stopped(talk)


def test_a_nod_that_is_followed_by_more_words_interrupts_only_where_that_is_wanted() -> None:
    for interrupts in (True, False):
        talk = semantic_talk()
        agent_speaks(talk)
        starts(talk)
        talk.waits(0.4)
        pauses(talk)
        hears(talk, "Okay.")
        updates(talk, type="semantic_vad", eagerness="low", interrupt_response=interrupts)
        talk.happens(happened.VoiceResumed())
        talk.waits(2.0)
        assert was_stopped(talk) is interrupts
