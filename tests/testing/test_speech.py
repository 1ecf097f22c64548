"""Words are known by their sound: whole, cut, lost, in any order."""

from __future__ import annotations

import numpy as np
import pytest

from offhook.audio import g711
from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, silence
from offhook.audio.tone import tone
from offhook.testing.speech import LONGEST_WORDS, Book, Ear, plain_words
from offhook.testing.voice import voice

TEXTS = ("Good morning, how can I help?", "I would like an appointment on Monday", "No.", "Which day suits you best?")


def told(book: Book, sound: Samples, *, piece: int = 160) -> list[str]:
    """Return the words that an ear finds in a sound which comes in pieces."""
    ear = Ear(book)
    found = []
    for start in range(0, len(sound) // 8 * 8, piece):
        found += ear.feed(sound[start : start + piece])
    return [word.text for word in found + ear.finish()]


def on_the_telephone(samples: Samples, *, loss: float = 0.0, seed: int = 1) -> Samples:
    """Send a sound through G.711 and repeat the packet before each that is lost."""
    sound = g711.decode(g711.encode(samples, Codec.PCMA), Codec.PCMA).copy()
    chance = np.random.default_rng(seed)
    for start in range(160, len(sound) - 160, 160):
        if chance.random() < loss:
            sound[start : start + 160] = sound[start - 160 : start]
    return sound


@pytest.mark.parametrize("loss", [0.0, 0.05])
@pytest.mark.parametrize("before", [0, 1234])
def test_every_word_is_heard_once_and_in_order(loss: float, before: int) -> None:
    book = Book()
    spoken = [sentence.samples for text in TEXTS for sentence in book.speak(text)]
    sound = np.concatenate([silence(before), *spoken, silence(400)])
    assert told(book, on_the_telephone(sound, loss=loss)) == " ".join(TEXTS).split()


@pytest.mark.parametrize("piece", [8, 160, 4000, 1_000_000])
def test_it_does_not_matter_in_which_pieces_a_sound_comes(piece: int) -> None:
    book = Book()
    (sentence,) = book.speak(TEXTS[1])
    assert told(book, np.concatenate([silence(808), sentence.samples]), piece=piece) == TEXTS[1].split()


def test_words_that_were_cut_off_are_not_heard() -> None:
    book = Book()
    (sentence,) = book.speak("I would like an appointment on Monday")
    assert told(book, np.concatenate([sentence.samples[: 1500 * 8], silence(800)])) == ["I", "would", "like", "an"]
    assert told(book, np.concatenate([silence(800), sentence.samples[1500 * 8 :]])) == ["on", "Monday"]


def test_what_nobody_said_is_not_heard() -> None:
    book = Book()
    book.speak(TEXTS[0])
    chance = np.random.default_rng(4)
    for sound in (
        silence(8000),
        tone(3, 1000),
        voice(1500, pitch_hz=135),
        chance.normal(0, 3000, 8000).astype(np.int16),
    ):
        assert told(book, sound) == []


def test_sentences_do_not_sound_alike() -> None:
    book = Book()
    sentences = [book.speak(f"Number {number}")[0] for number in range(90)]
    for sentence in sentences[::6]:
        assert told(book, sentence.samples, piece=1_000_000) == sentence.text.split()


def test_words_of_another_book_mean_nothing() -> None:
    other = Book()
    (sentence,) = other.speak("completely unknown words")
    book = Book()
    book.speak("something else entirely")
    assert told(book, sentence.samples) == []


def test_long_texts_are_said_in_pieces_and_nothing_is_left_out() -> None:
    text = "One two three. " + "word " * 40 + "end! ... ?"
    sentences = Book().speak(text)
    assert [word for each in sentences for word in plain_words(each.text)] == plain_words(text)
    assert all(len(each.words) <= LONGEST_WORDS + 2 for each in sentences)


def test_a_text_without_words_cannot_be_said() -> None:
    assert Book().speak(" ... ?! ") == ()


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert plain_words("It's 9 o'clock, ÉTÉ!") == ["it's", "9", "o'clock", "été"]
