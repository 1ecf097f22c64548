"""Where a long text is divided for speaking: at what a speaker would breathe at.

A voice works on a whole breath before any of it can be heard, so the first one is short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from offhook.model.local.voices.text import Phrase

# Beyond these, the next comma is taken; beyond the longest, the last small word. A letter costs about 0.6 ms.
_FIRST_CHARS: Final = 50
_FIRST_LONGEST_CHARS: Final = 90
_LATER_CHARS: Final = 120
_LATER_LONGEST_CHARS: Final = 180
# Nothing shorter is left over at an end that is no sentence's.
_LEAST_CHARS: Final = 12

_SENTENCE_ENDS: Final = (".", "!", "?", "…")
_CLAUSE_ENDS: Final = (",", ";", ":", "—", "\u2013")
_CLOSING: Final = "\"')]}”\u2019»"
_ABBREVIATIONS: Final = frozenset(
    "mr. mrs. ms. dr. prof. st. mt. sr. jr. vs. no. nos. approx. gen. col. capt. lt. sgt. rev. hon. gov. "  # noqa: SIM905
    "sen. rep.".split()
)
_SMALL_WORDS: Final = frozenset(
    "and or but nor so yet that which who whom whose where when while if unless because since as than "  # noqa: SIM905
    "with without within for from to into onto in on at by of about after before until through during "
    "between".split()
)


def breaths(found: Sequence[Phrase]) -> Iterator[list[Phrase]]:
    """Yield the phrases in order, as many at a time as are spoken in one breath."""
    start = 0
    while start < len(found):
        end = _end(found, start)
        yield list(found[start:end])
        start = end


def _end(found: Sequence[Phrase], start: int) -> int:
    wanted, longest = (_LATER_CHARS, _LATER_LONGEST_CHARS) if start else (_FIRST_CHARS, _FIRST_LONGEST_CHARS)
    left = sum(len(phrase.say) + 1 for phrase in found[start:])
    chars = 0
    clause = small_word = 0
    for place in range(start, len(found)):
        say = found[place].say
        chars += len(say) + 1
        left -= len(say) + 1
        if say and _ends_sentence(found, place):
            return place + 1
        if chars >= _LEAST_CHARS <= left:
            if say.rstrip(_CLOSING).endswith(_CLAUSE_ENDS):
                clause = place + 1
            elif place > start and say.lower() in _SMALL_WORDS:
                small_word = place
        if left < _LEAST_CHARS:
            continue
        if chars > wanted and clause:
            return clause
        if chars > longest:
            return small_word or place + 1
    return len(found)


def _ends_sentence(found: Sequence[Phrase], place: int) -> bool:
    last = found[place].say.rstrip(_CLOSING)
    if not last.endswith(_SENTENCE_ENDS):
        return False
    following = next((phrase.say for phrase in found[place + 1 :] if phrase.say), "")
    if last.endswith("."):
        word = last.rsplit(None, 1)[-1].lstrip("\"'([“\u2018").lower()
        # An abbreviation, an initial ("J. Smith"), or a stop in mid-sentence ("3 p.m. today").
        return not (word in _ABBREVIATIONS or (len(word) == 2 and word[0].isalpha()) or following[:1].islower())
    return not following[:1].islower()
