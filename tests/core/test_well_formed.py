"""Text of models that has no encoding is mended; all other text is left as it is."""

from __future__ import annotations

import msgspec
import pytest

from offhook.host.well_formed import well_formed, well_formed_output, well_formed_words
from offhook.model.interface import Segment, Words
from offhook.session import inputs as talk


@pytest.mark.parametrize("text", ["", "At nine.", "Grüße \N{TELEPHONE RECEIVER}"])
def test_usual_text_is_the_very_same(text: str) -> None:
    assert well_formed(text) is text
    produced = talk.AudioProduced(1, b"\0\0", 8000, 0.125, text)
    assert well_formed_output(produced) is produced
    heard = Words(text)
    assert well_formed_words(heard) is heard


def test_two_halves_are_joined_and_a_lone_one_is_replaced() -> None:
    assert well_formed("\ud83d\ude00 \ude00 \ud83d") == "\N{GRINNING FACE} \N{REPLACEMENT CHARACTER} " + "\ufffd"


@pytest.mark.parametrize(
    "output",
    [
        talk.TextProduced(1, "\ud83d"),
        talk.AudioProduced(1, b"", 8000, 0.0, "\ud83d"),
        talk.ToolCallStarted(1, 0, "\ud83d", "\ud83d"),
        talk.ToolArgumentsProduced(1, 0, "\ud83d"),
        talk.GenerationFailed(1, "\ud83d", "\ud83d", "\ud83d"),
        talk.ModelComplained("\ud83d", "\ud83d", "\ud83d"),
    ],
)
def test_every_text_that_a_model_produces_is_mended(output: talk.Input) -> None:
    texts = [value for value in msgspec.structs.astuple(well_formed_output(output)) if isinstance(value, str)]
    assert set(texts) == {"\ufffd"}


def test_what_a_speaker_said_is_mended_like_all_words() -> None:
    heard = well_formed_words(Words("Hi.", segments=(Segment("\ud83d", "\ud83d", 0.0, 1.0),)))
    assert heard.segments == (Segment("\ufffd", "\ufffd", 0.0, 1.0),)
