"""Words that can be said and heard without a model: each sentence has a sound of its own, and is known by it.

What is said really sounds: it triggers voice detection, goes through G.711 and RTP, is lost, cut and concealed. An ear
finds each word again by its sound and by nothing else, so a word that was cut off or lost on the way is not heard.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from offhook.audio.pcm import Samples
from offhook.testing.voice import voice

RATE_HZ: Final = 8000
MS_PER_LETTER: Final = 65
"""Speech has about 15 letters a second."""
SHORTEST_MS: Final = 400
"""Long enough for any voice detector; nobody says a word faster."""
LONGEST_WORDS: Final = 12
"""Longer sentences are said in pieces, which take no longer to find than to say."""
MAX_SENTENCES: Final = 180
"""Sentences that one book keeps apart; more would sound alike."""

_SEEDS: Final = 12
_PITCHES: Final = 15
_LOWEST_PITCH_HZ: Final = 100
_PITCH_STEP_HZ: Final = 4
# Sounds are compared at half their rate: what tells them apart lies below 1 kHz.
_STEP: Final = 2
_PER_MS: Final = RATE_HZ // _STEP // 1000
_PROBE: Final = 320 * _PER_MS
_HOP: Final = 40 * _PER_MS
_FRAME: Final = 20 * _PER_MS
_SLACK: Final = 40 * _PER_MS
# Of a perfect likeness, which is 1; lost packets and stretched sound cost some of it.
_ALIKE: Final = 0.55
_LOUD: Final = 100.0
# Of a word that was heard, its last part was heard too: a quarter.
_LAST: Final = 4

_Floats = npt.NDArray[np.float32]


def plain_words(text: str) -> list[str]:
    """Return the words of a text without case and punctuation, as they are compared."""
    return re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", text.casefold())


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its place in a sound, in milliseconds."""

    text: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A piece of speech: its words, and 8 kHz samples without a pause."""

    text: str
    samples: Samples
    words: tuple[Word, ...]
    likeness: _Floats = field(repr=False)
    """What an ear compares."""

    @property
    def duration_ms(self) -> int:
        """How long it is."""
        return len(self.samples) * 1000 // RATE_HZ


class Book:
    """Everything that is said in a test. The same text always sounds the same; no two sentences sound alike."""

    def __init__(self) -> None:
        self._sentences: dict[str, Sentence] = {}
        self._taken: set[int] = set()

    @property
    def sentences(self) -> list[Sentence]:
        """What was said so far, the latest first."""
        return list(reversed(self._sentences.values()))

    def speak(self, text: str) -> tuple[Sentence, ...]:
        """Return a text as it is said, in pieces of a dozen words at most; nothing for a text without words."""
        return tuple(self._sentence(piece) for piece in _pieces(text))

    def _sentence(self, text: str) -> Sentence:
        known = self._sentences.pop(text, None)
        if known is None:
            number = zlib.crc32(text.encode()) % (_SEEDS * _PITCHES)
            while number in self._taken and len(self._taken) < _SEEDS * _PITCHES:
                number = (number + 1) % (_SEEDS * _PITCHES)
            self._taken.add(number)
            known = _sentence(text, number)
        self._sentences[text] = known
        if len(self._sentences) > MAX_SENTENCES:
            del self._sentences[next(iter(self._sentences))]
        return known


def _pieces(text: str) -> list[str]:
    pieces = []
    for sentence in re.split(r"(?<=[.!?])\s+", text.strip()):
        words = sentence.split()
        for start in range(0, len(words), LONGEST_WORDS):
            piece = " ".join(words[start : start + LONGEST_WORDS])
            if plain_words(piece):
                pieces.append(piece)
    return pieces


_made: dict[tuple[str, int], Sentence] = {}


def _sentence(text: str, number: int) -> Sentence:
    """Make a sentence; many tests say the same."""
    made = _made.get((text, number))
    if made is None:
        words = text.split()
        letters = [len(word) + 1 for word in words]
        total = sum(letters)
        duration_ms = max(total * MS_PER_LETTER, SHORTEST_MS) // 20 * 20
        edges = [duration_ms * sum(letters[:index]) // total for index in range(len(words) + 1)]
        pitch_hz = _LOWEST_PITCH_HZ + number // _SEEDS * _PITCH_STEP_HZ
        samples = voice(duration_ms, seed=number % _SEEDS, pitch_hz=pitch_hz)
        placed = tuple(Word(word, *edges[index : index + 2]) for index, word in enumerate(words))
        made = Sentence(text, samples, placed, _likeness(samples))
        if len(_made) >= MAX_SENTENCES:
            _made.clear()
        _made[(text, number)] = made
    return made


def _likeness(samples: Samples) -> _Floats:
    even = samples[: len(samples) // _STEP * _STEP].astype(np.float32)
    likeness: _Floats = (even[::_STEP] + even[1::_STEP]) / np.float32(_STEP)
    return likeness


@dataclass(slots=True)
class _Following:
    """A sentence that is being heard: where it begins, and which word comes next."""

    sentence: Sentence
    start: int
    next_word: int
    missed: int = 0


class Ear:
    """Finds the words of a book in a sound that comes in pieces. Places are milliseconds of that sound."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._kept: _Floats = np.zeros(0, np.float32)
        self._first = 0
        self._place = 0
        self._following: _Following | None = None

    @property
    def taken(self) -> int:
        """How many samples of 8 kHz it has been given."""
        return (self._first + len(self._kept)) * _STEP

    def feed(self, samples: Samples) -> list[Word]:
        """Take more of the sound, whole milliseconds of it; return the words that are over now."""
        self._kept = np.concatenate([self._kept, _likeness(samples)])
        found: list[Word] = []
        while self._advance(found):
            pass
        surplus = self._place - self._first - 2 * _SLACK
        if surplus > _PROBE:
            self._kept = self._kept[surplus:]
            self._first += surplus
        return found

    def finish(self) -> list[Word]:
        """Return the words that only waited for what comes after them."""
        return self.feed(np.zeros((_PROBE + 2 * _SLACK) * _STEP, np.int16))

    def _advance(self, found: list[Word]) -> bool:
        return self._look() if self._following is None else self._follow(self._following, found)

    def _end(self) -> int:
        return self._first + len(self._kept)

    def _part(self, start: int, end: int) -> _Floats:
        return self._kept[max(start - self._first, 0) : max(end - self._first, 0)]

    def _look(self) -> bool:
        """Find out which sentence begins, or goes on, at the next sound."""
        if self._place + _PROBE > self._end():
            return False
        frame = self._part(self._place, self._place + _FRAME)
        if not _is_loud(frame):
            self._place += _FRAME
            return True
        probe = self._part(self._place, self._place + _PROBE)
        best, where = _ALIKE, None
        for sentence in self._book.sentences:
            likeness, offset = _find(probe, sentence.likeness)
            if likeness > best:
                best, where = likeness, (sentence, self._place - offset)
            if likeness > 0.96:
                break
        if where is None:
            self._place += _HOP
            return True
        sentence, start = where
        heard_from_ms = (self._place - start) // _PER_MS
        # A word whose beginning was missed is not heard; a few milliseconds are no beginning.
        first = next((i for i, word in enumerate(sentence.words) if word.start_ms >= heard_from_ms - 40), None)
        if first is None:
            self._place += _HOP
        else:
            self._following = _Following(sentence, start, first)
        return True

    def _follow(self, following: _Following, found: list[Word]) -> bool:
        """Hear the next word of the sentence, once all of it is there."""
        sentence = following.sentence
        if following.next_word == len(sentence.words):
            self._following = None
            self._place = max(following.start + len(sentence.likeness), self._place)
            return True
        word = sentence.words[following.next_word]
        start = following.start + word.start_ms * _PER_MS
        end = following.start + word.end_ms * _PER_MS
        if end + _SLACK > self._end():
            return False
        around_from = max(start - _SLACK, self._first)
        around = self._part(around_from, end + _SLACK)
        pattern = sentence.likeness[word.start_ms * _PER_MS : word.end_ms * _PER_MS]
        likeness, offset = _find(pattern, around)
        following.next_word += 1
        drift = around_from + offset - start
        if likeness > _ALIKE and _is_loud(self._part(end + drift - len(pattern) // _LAST, end + drift)):
            following.start += drift
            following.missed = 0
            self._place = end + drift
            found.append(Word(word.text, (start + drift) // _PER_MS, (end + drift) // _PER_MS))
            return True
        following.missed += 1
        if following.missed > 1 or not _is_loud(self._part(end - _FRAME, end)):
            self._following = None
            self._place = max(self._place, start if following.missed == 1 else self._place) + _HOP
        return True


class BookEar:
    """Hears the words of one call by their sounds, as soon as each is over."""

    def __init__(self, book: Book) -> None:
        self.heard: list[Word] = []
        self._ear = Ear(book)
        self._ended = False

    @property
    def taken(self) -> int:
        """How many samples of 8 kHz it has been given."""
        return self._ear.taken

    def take(self, samples: Samples) -> None:
        """Take more of the sound, whole milliseconds of it."""
        self.heard += self._ear.feed(samples)

    def end(self) -> None:
        """No more sound comes; harmless when repeated."""
        if not self._ended:
            self._ended = True
            self.heard += self._ear.finish()

    async def settle(self) -> None:
        """Nothing waits: it hears at once."""


def _is_loud(part: _Floats) -> bool:
    return bool(len(part)) and float(np.dot(part, part)) > _LOUD * _LOUD * len(part)


def _find(pattern: _Floats, sound: _Floats) -> tuple[float, int]:
    """Return how alike a pattern and its best place in a sound are, and that place; it may begin before the sound."""
    margin = _FRAME
    padded = np.concatenate([np.zeros(margin, np.float32), sound, np.zeros(margin, np.float32)])
    count = len(padded) - len(pattern) + 1
    if count <= 0:
        return 0.0, 0
    size = 1 << (len(padded) - 1).bit_length()
    spectrum = np.fft.rfft(padded, size) * np.conj(np.fft.rfft(pattern, size))
    alike = np.fft.irfft(spectrum, size)[:count]
    energy = np.concatenate([[0.0], np.cumsum(padded.astype(np.float64) ** 2)])
    window = energy[len(pattern) :][:count] - energy[:count]
    own = float(np.dot(pattern, pattern))
    likeness = alike / np.sqrt(np.maximum(window * own, 1.0))
    # Where almost nothing sounds, anything is alike.
    likeness[window < own * 0.05] = 0.0
    place = int(np.argmax(likeness))
    return float(likeness[place]), place - margin
