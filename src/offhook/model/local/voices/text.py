"""A text for the eye, turned into words for the ear, without losing track of which is which.

The text is divided into phrases: mostly single words, with the blanks before them. A phrase that is said differently
from how it is written (an address, a telephone number) carries both. Written out one after the other, the phrases are
the text again, letter for letter: that is how the session knows what a caller heard of it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from offhook.model.local.voices.claim import Claim, Claims
from offhook.model.local.voices.markup import ITEM, emphasis, layout
from offhook.model.local.voices.wording import wording

# A voice works on whole phrases; a longer one (an endless "word", a page of digits) is divided.
LONGEST_SAY_CHARS: Final = 160
LONGEST_WORD_CHARS: Final = 40

_WORD: Final = re.compile(r"\S+")
_BREAKS: Final = ("—", "\u2013", "…", ",")
_PAUSES: Final = ".!?…,;:—\u2013"
# Signs that the voice reads out, or that shape how it reads what is around them.
_SIGNS: Final = frozenset("!\"#$%&'()*+,-./:;=?@¢£¥§°±²³µ·\u00d7÷\u2013—\u2018\u2019“”…€₹₩→½¼¾©")
_READ_ALONE: Final = frozenset("#$%&+=@¢£¥§°±\u00d7÷€→½¼¾©")
_UNREAD: Final = frozenset("™®")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A stretch of a text and how it is said.

    ``say`` is empty when nothing is. ``lost``: something in it should have been said but no voice here can, such as
    the letters of another script; mere layout is not lost.
    """

    text: str
    say: str
    lost: bool = False


def phrases(text: str, *, english: bool = True) -> list[Phrase]:
    """Divide a text; the phrases' texts joined are the text. ``english``: also put signs into English words."""
    claims = Claims(len(text))
    claims.add(layout(text))
    if english:
        claims.add(wording(text))
    claims.add(emphasis(text))
    ordered = claims.in_order()
    found: list[Phrase] = []
    next_claim = 0
    start = 0
    for match in _WORD.finditer(text):
        if match.end() <= start:
            continue  # The phrase before reaches over this word.
        first = next_claim
        end = match.end()
        while next_claim < len(ordered) and ordered[next_claim].start < end:
            if ordered[next_claim].end > end:
                end = _word_end(text, ordered[next_claim].end)
            next_claim += 1
        found.append(_phrase(text, start, end, ordered[first:next_claim]))
        start = end
    if start < len(text):
        found = [*found[:-1], replace(found[-1], text=found[-1].text + text[start:])] if found else [Phrase(text, "")]
    return [part for phrase in _with_pauses(found) for part in _divided(phrase)]


def speakable(say: str) -> bool:
    """Whether there is anything in ``say`` besides pauses."""
    return any(char.isalnum() or char in _READ_ALONE for char in say)


def _word_end(text: str, place: int) -> int:
    while place < len(text) and not text[place - 1].isspace() and not text[place].isspace():
        place += 1
    return place


def _phrase(text: str, start: int, end: int, claims: list[Claim]) -> Phrase:
    said: list[str] = []
    lost = False
    place = start
    for claim in [*claims, Claim(end, end, "")]:
        kept, lacking = _readable(text[place : claim.start])
        said += [kept, claim.say]
        lost = lost or lacking
        place = claim.end
    say = " ".join("".join(said).split())
    silent = not speakable(say) and (lost or say not in _BREAKS)
    return Phrase(text[start:end], "" if silent else say, lost)


def _readable(written: str) -> tuple[str, bool]:
    """Return what a voice can read, and whether something that has a sound had to be left out."""
    if written.isascii() and written.isprintable() and not _STRAY.search(written):
        return written, False
    kept = []
    lost = False
    for char in unicodedata.normalize("NFC", written):
        match _kind(char):
            case "kept":
                kept.append(char)
            case "blank":
                kept.append(" ")
            case "lost":
                lost = True
            case _:
                pass
    return "".join(kept), lost


_STRAY: Final = re.compile(r"[\[\]{}\\^|`~<>_]")


@lru_cache(maxsize=4096)
def _kind(char: str) -> str:
    if char in _UNREAD:
        return "none"
    if char.isspace() or char in "_|\\":
        return "blank"
    if char in _SIGNS or (char.isascii() and char.isalnum()):
        return "kept"
    category = unicodedata.category(char)
    if category[0] == "L" and unicodedata.name(char, "").startswith("LATIN"):
        return "kept"
    # Letters, figures and pictures have a sound or a meaning; controls, joiners and other punctuation have none.
    return "lost" if category in ("Lu", "Ll", "Lt", "Lo", "Nd", "Nl", "No", "So", "Sm", "Sc") and char > "~" else "none"


def _with_pauses(found: list[Phrase]) -> list[Phrase]:
    """Let the end of a line be heard where no punctuation says so."""
    heard: int | None = None
    mark = ""
    for index, phrase in enumerate(found):
        blanks = phrase.text[: len(phrase.text) - len(phrase.text.lstrip())]
        if "\n" in blanks:
            mark = "." if mark == "." or blanks.count("\n") > 1 or ITEM.match(phrase.text + " ") else ","
        if not phrase.say:
            continue
        if heard is not None and mark and found[heard].say[-1] not in _PAUSES:
            found[heard] = replace(found[heard], say=found[heard].say + mark)
        heard, mark = index, ""
    return found


def _divided(phrase: Phrase) -> list[Phrase]:
    words = [
        word[place : place + LONGEST_WORD_CHARS]
        for word in phrase.say.split()
        for place in range(0, len(word), LONGEST_WORD_CHARS)
    ]
    if sum(map(len, words)) + len(words) <= LONGEST_SAY_CHARS and len(words) == len(phrase.say.split()):
        return [phrase]
    groups: list[str] = [words[0]]
    for word in words[1:]:
        if len(groups[-1]) + len(word) < LONGEST_SAY_CHARS // 2:
            groups[-1] += f" {word}"
        else:
            groups.append(word)
    cuts = [len(phrase.text) * index // len(groups) for index in range(len(groups) + 1)]
    return [Phrase(phrase.text[cuts[index] : cuts[index + 1]], say, phrase.lost) for index, say in enumerate(groups)]
