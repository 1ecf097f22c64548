"""What becomes of a response that upstream does not give, where somebody else could."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.core.relay_talk import PATIENCE_S, TRANSCRIBED, RelayTalk
from tests.core.talk import one

from offhook.config import load_config
from offhook.errors import ConfigError
from offhook.model.registry import choose_backend
from offhook.model.relay import RelayBackend
from offhook.model.scripted import ScriptedBackend
from offhook.model_settings import model_options
from offhook.session import inputs as happened
from offhook.session.relay import limits, steps

UNANSWERED = {"input": TRANSCRIBED["input"] | {"turn_detection": {"type": "server_vad", "create_response": False}}}


def told_words(talk: RelayTalk) -> list[dict[str, Any]]:
    return [event for event in talk.sent if "input_audio_transcription" in event["type"]]


class StandIn(RelayTalk):
    reserve = "stand-in"

    def fails_to_connect(self) -> None:
        self.lose("Connection refused")
        self.waits(0.1)

    def stands_in(self, words: str = "We open at ten.", heard: str = "When?") -> None:
        """Hear and answer what was handed over last."""
        wanted = self.handed_over[-1]
        self.hears(wanted.unheard, heard)
        run = wanted.request.run
        self.happens(happened.TextProduced(run, words))
        self.happens(happened.AudioProduced(run, bytes(16_000), 8000, 1000.0, words))
        self.happens(happened.GenerationFinished(run))
        self.happens(happened.PlayoutStarted(run))
        self.happens(happened.PlayoutFinished(run, 1000))

    def hears(self, turns: Iterable[steps.Unheard], words: str = "When?") -> None:
        """Tell the words of turns."""
        for each in turns:
            self.happens(happened.TranscriptCompleted(each.item_id, words, len(each.pcm) / 2 / each.rate_hz))


class Apology(RelayTalk):
    reserve = "apology"


def test_a_turn_that_upstream_cannot_be_asked_about_is_handed_over_with_its_sound() -> None:
    talk = StandIn(is_online=False)
    talk.fails_to_connect()
    talk.fails_to_connect()
    talk.says(1000)
    (wanted,) = talk.handed_over
    assert wanted.failure.message == "The model could not be reached."
    (turn,) = wanted.unheard
    assert (len(turn.pcm), turn.rate_hz) == ((200 + 1000 + 500) * 16, 8000), "with what came before the voice"
    talk.stands_in()
    assert one(talk.sent, "response.done")["response"]["status"] == "completed"
    assert not [event for event in talk.sent if event["type"] == "error"]


def test_a_response_that_waits_for_the_connection_is_handed_over_when_a_second_attempt_fails() -> None:
    talk = StandIn(is_online=False)
    talk.says(1000)
    talk.fails_to_connect()
    assert not talk.handed_over, "it may be a restart"
    talk.fails_to_connect()
    assert len(talk.handed_over) == 1


def test_a_connection_that_hangs_costs_a_caller_four_seconds() -> None:
    talk = StandIn(is_online=False)
    talk.says(1000)
    talk.waits(limits.HAND_OVER_S - 0.1)
    assert not talk.handed_over
    talk.waits(0.2)
    assert len(talk.handed_over) == 1


def unnamed(talk: StandIn) -> None:
    """Ask for a response about a turn whose name upstream has not told."""
    turn = one(talk.says(1000), "input_audio_buffer.committed")["item_id"]
    talk.answers_upstream()
    given = [{"type": "item_reference", "id": turn}]
    talk.client("response.create", response={"conversation": "none", "input": given})


def test_who_waits_for_something_else_than_a_connection_waits_for_upstream_as_long_as_ever() -> None:
    """Symptom: a response about a turn that upstream was slow to name was another model's after four seconds."""
    talk = StandIn()
    unnamed(talk)
    talk.waits(PATIENCE_S - 0.1)
    assert not talk.handed_over
    talk.waits(0.2)
    assert len(talk.handed_over) == 1


def test_who_waits_for_something_else_waits_four_seconds_from_when_the_connection_is_lost() -> None:
    talk = StandIn()
    unnamed(talk)
    talk.waits(10.0)
    talk.lose()
    talk.waits(limits.HAND_OVER_S - 0.1)
    assert not talk.handed_over
    talk.waits(0.2)
    assert len(talk.handed_over) == 1


def test_who_waited_for_a_connection_waits_on_when_there_is_one() -> None:
    talk = StandIn(is_online=False)
    turn = one(talk.says(1000), "input_audio_buffer.committed")["item_id"]
    given = [{"type": "item_reference", "id": turn}]
    talk.client("response.create", response={"conversation": "none", "input": given})
    talk.waits(limits.HAND_OVER_S - 0.5)
    talk.connect()
    talk.answers_upstream()
    talk.waits(PATIENCE_S - limits.HAND_OVER_S)
    assert not talk.handed_over


def test_a_refusal_is_handed_over_at_once() -> None:
    talk = StandIn(audio=TRANSCRIBED, is_online=False)
    talk.lose("HTTP 401", is_refused=True)
    talk.says(1000)
    assert talk.handed_over[-1].failure.message.endswith("HTTP 401.")
    talk.hears(talk.heard_instead)
    talk.stands_in()
    assert [event["transcript"] for event in told_words(talk)] == ["When?"], "told by who stands in"
    assert not talk.relay.awaits_words


def test_turns_that_nobody_answers_are_heard_by_who_stands_in_for_an_upstream_that_refused() -> None:
    talk = StandIn(audio=UNANSWERED, is_online=False)
    talk.says(1000)
    talk.lose("HTTP 401", is_refused=True)
    assert len(talk.heard_instead) == 1, "the one that waited"
    talk.says(1000)
    assert len(talk.heard_instead) == 2
    talk.hears(talk.heard_instead)
    assert [event["transcript"] for event in told_words(talk)] == ["When?"] * 2
    assert not talk.engine.transcripts.expected
    assert not talk.handed_over


def test_a_turn_that_is_heard_already_is_not_handed_over_with_its_sound() -> None:
    talk = StandIn(audio=UNANSWERED, is_online=False)
    talk.lose("HTTP 401", is_refused=True)
    talk.says(1000)
    talk.client("response.create")
    assert len(talk.heard_instead) == 1
    assert talk.handed_over[-1].unheard == ()


def test_nobody_waits_for_words_that_nobody_asked_for() -> None:
    talk = StandIn()
    for number in (1, 2, 3):
        talk.says(1000)
        talk.answers_upstream(number=number)
        talk.happens(happened.PlayoutStarted(talk.run))
        talk.happens(happened.PlayoutFinished(talk.run, 2000))
    assert not talk.engine.transcripts.expected
    assert not told_words(talk)


def test_words_that_nobody_asked_for_are_told_upstream_where_its_stand_in_heard_them() -> None:
    talk = StandIn(is_online=False)
    talk.fails_to_connect()
    talk.fails_to_connect()
    talk.says(1000)
    talk.stands_in()
    assert not told_words(talk)
    talk.waits(10.0)
    talk.connect()
    talk.says(1000)
    first = talk.asked("conversation.item.create")[0]["item"]["content"]
    assert first == [{"type": "input_text", "text": "When?"}]


@pytest.mark.parametrize("begun", [False, True])
def test_an_answer_that_has_begun_is_not_begun_again_by_another(begun: bool) -> None:
    talk = StandIn()
    talk.says(1000)
    talk.begins()
    if begun:
        talk.speaks("We open ", 500)
    lost = talk.lose()
    assert len(talk.handed_over) == (not begun)
    if begun:
        assert one(lost, "response.done")["response"]["status"] == "failed"


def test_an_error_instead_of_an_answer_is_handed_over() -> None:
    talk = StandIn()
    talk.says(1000)
    talk.begins()
    error = {"type": "server_error", "code": "insufficient_quota", "message": "No credit."}
    talk.ends("failed", status_details={"type": "failed", "error": error})
    assert talk.handed_over[-1].failure.code == "insufficient_quota"


def test_upstream_is_told_afterwards_what_was_said_without_it() -> None:
    talk = StandIn(audio=TRANSCRIBED, is_online=False)
    talk.fails_to_connect()
    talk.fails_to_connect()
    turn = talk.says(1000)
    talk.stands_in()
    heard = one(talk.sent, "conversation.item.input_audio_transcription.completed")
    assert heard["item_id"] == one(turn, "input_audio_buffer.committed")["item_id"]
    talk.waits(10.0)
    talk.connect()
    talk.says(1000)
    parts = [event["item"]["content"] for event in talk.asked("conversation.item.create")]
    assert parts == [
        [{"type": "input_text", "text": "When?"}],
        [{"type": "output_text", "text": "We open at ten."}],
    ]
    assert len(talk.asked("input_audio_buffer.commit")) == 1, "the new turn only"
    assert len(talk.handed_over) == 1


def test_without_anybody_to_take_it_a_response_fails_as_it_always_did() -> None:
    talk = RelayTalk(is_online=False)
    talk.says(1000)
    ended = talk.waits(PATIENCE_S + 1)
    assert one(ended, "response.done")["response"]["status"] == "failed"
    assert not talk.handed_over


def test_who_can_only_apologize_is_not_asked_before_the_patience_is_over_and_needs_no_sound() -> None:
    talk = Apology(is_online=False)
    for _ in range(2):
        talk.lose("Connection refused")
        talk.waits(0.1)
    talk.says(1000)
    talk.waits(PATIENCE_S - 2)
    assert not talk.handed_over
    talk.waits(3)
    (wanted,) = talk.handed_over
    assert wanted.unheard == ()


# -- the settings

URL = {"relay_url": "wss://there.example"}


def test_what_is_named_after_a_relay_stands_in_for_it() -> None:
    for settings in (
        URL | {"models": "scripted", "backend": "parts"},
        URL | {"backend": ("scripted",)},
        {"models": "scripted", "backend": ("scripted",)},
    ):
        backend = choose_backend(model_options(load_config(settings, {})))
        stand_in = backend.reserve.stand_in if isinstance(backend, RelayBackend) else backend
        assert isinstance(stand_in, ScriptedBackend)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (URL | {"backend": ("scripted", "parts")}, "more than one"),
        ({"backend": ("scripted", "parts")}, "'parts' cannot stand in for 'scripted'"),
        ({"backend": ("parts", "scripted")}, "cannot stand in for the three parts"),
        (URL | {"llm_url": "http://127.0.0.1:1"}, "does not go with --llm-url"),
        (URL | {"relay_turns": "upstream", "relay_dialect": "xai"}, "cannot find turns"),
    ],
)
def test_an_order_that_cannot_be_is_refused_at_the_start(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_backend(model_options(load_config(settings, {})))
