"""From words to phonemes, with each phoneme's place in the text kept.

The voice's own front end reads numbers, dates and abbreviations; what it makes of a word is found again by laying the
words that it was given against those that it speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib import import_module
from typing import Any, Final, NamedTuple

from offhook.model.local.voices.text import Phrase, speakable

PAUSES: Final = frozenset(' ;:,.!?—…"()“”ˈˌ')
"""Signs of the phoneme alphabet that have no sound of their own."""


class Block(NamedTuple):
    """The words ``[written, written_end)`` of a text are said as the words ``[said, said_end)``."""

    written: int
    written_end: int
    said: int
    said_end: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A stretch of the text and its phonemes; none when it is silent. ``lost``: it should have been heard."""

    text: str
    phonemes: str
    lost: bool


def align(written: Sequence[str], said: Sequence[str]) -> list[Block]:
    """Lay two wordings of a text against each other: blocks as small as can be told, in order, that cover both."""
    if written == said:
        return [Block(place, place + 1, place, place + 1) for place in range(len(written))]
    blocks: list[Block] = []
    early = 0  # Words that are said before the first one that is written belong to that one.
    for kind, first, end, said_first, said_end in SequenceMatcher(None, written, said, autojunk=False).get_opcodes():
        if kind == "insert":
            if blocks:
                blocks[-1] = blocks[-1]._replace(said_end=said_end)
            early = said_first if not blocks else early
        elif kind == "delete":
            blocks += [Block(place, place + 1, said_first, said_first) for place in range(first, end)]
        elif end - first == said_end - said_first:
            lag = said_first - first
            blocks += [Block(place, place + 1, place + lag, place + lag + 1) for place in range(first, end)]
        else:
            blocks.append(Block(first, end, said_first, said_end))
    if blocks:
        blocks[0] = blocks[0]._replace(said=early)
    return blocks


class Reader:
    """The voice's front end: a lexicon, rules, and a small network for unknown words."""

    def __init__(self, alphabet: frozenset[str], *, british: bool = False) -> None:
        self._alphabet = alphabet
        self._normalize = import_module("hibari.g2p.normalize").normalize
        self._phonemes: Any = import_module("hibari.g2p").G2P(british=british)

    def warm(self) -> None:
        """Load what is otherwise loaded with the first unknown word."""
        self._phonemes("Offhookish.")

    def read(self, found: Sequence[Phrase]) -> list[Reading]:
        """Return the phrases with their phonemes; those that are read together come together."""
        words = [(word, index) for index, phrase in enumerate(found) for word in phrase.say.split()]
        written = [word for word, _ in words]
        said = self._normalize(" ".join(written)).split()
        sounds = self._sounds(said)
        # Of each phrase, the end of the group that it is read with, and what the group sounds like.
        until = list(range(1, len(found) + 1))
        heard: list[list[str]] = [[] for _ in found]
        for block in align(written, said):
            first, last = words[block.written][1], words[block.written_end - 1][1]
            until[first] = max(until[first], last + 1)
            heard[first] += sounds[block.said : block.said_end]
        return [self._reading(found[first:end], heard[first:end]) for first, end in _groups(until)]

    def _reading(self, group: Sequence[Phrase], heard: Sequence[Sequence[str]]) -> Reading:
        phonemes = " ".join(sound for sounds in heard for sound in sounds if sound)
        silent = not set(phonemes) - PAUSES
        lost = any(phrase.lost for phrase in group) or (silent and any(speakable(phrase.say) for phrase in group))
        return Reading("".join(phrase.text for phrase in group), phonemes, lost)

    def _sounds(self, said: list[str]) -> list[str]:
        """Return the phonemes of every word; read as a whole, since what stands around a word shapes it."""
        sounds = self._try(" ".join(said))
        if len(sounds) == len(said):
            return sounds
        return [" ".join(self._try(word)) for word in said]

    def _try(self, said: str) -> list[str]:
        if not said:
            return []
        try:
            tokens = self._phonemes.phonemize_tokens(self._phonemes.tokenize(said))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            # The rules were ported for running text; whatever trips them is one silent word, not a silent agent.
            return []
        sounds = [""]
        for token in tokens:
            sounds[-1] += "".join(char for char in token.phonemes or "" if char in self._alphabet)
            if token.whitespace:
                sounds.append("")
        return sounds


def _groups(until: Sequence[int]) -> list[tuple[int, int]]:
    groups = []
    first = 0
    while first < len(until):
        end = until[first]
        place = first
        while place < end:
            end = max(end, until[place])
            place += 1
        groups.append((first, end))
        first = end
    return groups
