"""What the words of a caller say about the caller's turn: whether they are all of it, or only a nod."""

from __future__ import annotations

import enum
import re
from typing import Final


class Reading(enum.Enum):
    """How words look when nothing follows them.

    ``WHOLE``: they can stand as they are. ``OPEN``: they may, or may not. ``CUT``: more has to come.
    """

    WHOLE = enum.auto()
    OPEN = enum.auto()
    CUT = enum.auto()


_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|\d[\d\s.,()+-]*\d|\d")
_GOES_ON: Final = (",", ";", ":", "-", "\u2013", "\u2014", "...", "\u2026", "\u3001", "\uff0c")
_ENDS: Final = (".", "?", "!", "\u3002", "\uff1f", "\uff01", "\u061f", "\u0964")
_QUOTES: Final = "\"'\u201c\u201d\u2018\u2019)]\u00bb "


def _these(*words: str) -> frozenset[str]:
    return frozenset(" ".join(words).split())


# English words after which something has to come.
_ARTICLES: Final = "a an the my your our their its every another"
_PREPOSITIONS: Final = (
    "of to from with without for at by in on into onto about as than between during against toward towards per via"
)
_CONJUNCTIONS: Final = "and or but nor because if whether unless until although while where when which who whose whom"
_AUXILIARIES: Final = (
    "is am are was were be been being has have had do does did will would shall should can could may might must "
    "isn't aren't wasn't weren't hasn't haven't hadn't don't doesn't didn't won't wouldn't shouldn't can't couldn't"
)
_SUBJECTS: Final = (
    "i he she we they i'm i'd i'll i've you're you'd you'll you've he's she's it's it'll we're we'd we'll we've "
    "they're they'd they'll they've that's there's here's what's who's where's let's"
)
_FILLERS: Final = "um uhm umm uh uhh er erm hm hmm mm eh very"
_CUTTING: Final = _these(_ARTICLES, _CONJUNCTIONS, _SUBJECTS, _FILLERS)
_STRANDED: Final = _these(_PREPOSITIONS)
_ELLIPTIC: Final = _these(_AUXILIARIES)
# "Who is it for?", "I cannot log in.", "Yes, I do.": what may end with a preposition, and with an auxiliary.
_ASKING: Final = _these("what who whom which where how")
_ANSWERING: Final = _these("yes yeah yep no nope sure so neither")
_LEADING_IN: Final = _these("log logged sign signed check come came go going turn turned hang move drop put it me")
_PRONOUNS: Final = _these("i you he she it we they that this there")
# "What time do you": the verb is missing. "How are you" has its own.
_WANTING_A_VERB: Final = _these("do does did can could will would shall should may might must")
_SAYING_SO: Final = _these("think hope guess suppose believe say said do did")

# Numbers are dictated in groups, and each group sounds like the last one.
_DIGITS: Final = _these("zero oh one two three four five six seven eight nine")
_GROUP_DIGITS: Final = 2
_NUMBER_DIGITS: Final = 10

_NODS: Final = _these(
    "mm mmm mhm mhmm mm-hm mm-hmm mmhmm hm hmm hmmm uh-huh uh huh ah aha oh ok okay okey yeah yea yep yup yes right",
    "sure alright fine",
    "ja oui si s\u00ed genau claro bien",
)
_NODDING: Final = frozenset({"i see", "got it", "all right", "of course", "go on", "m hm", "m hmm"})
_MOST_NODS: Final = 3


def read(text: str, language: str = "en") -> Reading:
    """Tell whether words look like all of a turn. Of languages other than English only the punctuation is read."""
    text = text.strip().rstrip(_QUOTES)
    words = [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]
    if not words:
        return Reading.OPEN
    if text.endswith(_GOES_ON):
        return Reading.CUT
    if language in {"", "en"} and _wants_more(words, asks=text.endswith("?")):
        return Reading.CUT
    if not text.endswith(_ENDS) or (_is_part_of_number(words) and not text.endswith("?")):
        return Reading.OPEN
    return Reading.WHOLE


def reads_complete(text: str, language: str = "en") -> bool:
    """Say whether words can be all of a turn: a sentence with its end, and nothing that asks for more."""
    return read(text, language) is Reading.WHOLE


def is_nod(text: str) -> bool:
    """Say whether words only tell that somebody listens ("mm-hm", "okay, right"), or are none at all."""
    words = [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]
    if " ".join(words) in _NODDING:
        return True
    return len(words) <= _MOST_NODS and all(word in _NODS for word in words)


def _wants_more(words: list[str], *, asks: bool) -> bool:
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _STRANDED:
        stands = (asks and words[0] in _ASKING) or (last in {"in", "on"} and before in _LEADING_IN)
        return not stands
    if last in _ELLIPTIC:
        return not (words[0] in _ANSWERING and before in _PRONOUNS)
    if before in _WANTING_A_VERB and last in _PRONOUNS:
        return True
    if last == "so":
        return before not in _SAYING_SO
    return last in _CUTTING and not (asks and len(words) == 1)


def _is_part_of_number(words: list[str]) -> bool:
    """Whether the words end in digits that are too few for a whole telephone number; one digit is a word."""
    digits = 0
    for word in reversed(words):
        if not word[0].isdigit() and word not in _DIGITS:
            break
        if "." in word or "," in word:  # An amount.
            return False
        digits += sum(character.isdigit() for character in word) or 1
    return _GROUP_DIGITS <= digits < _NUMBER_DIGITS
