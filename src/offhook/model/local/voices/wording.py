"""How English says what it writes in signs: addresses, telephone numbers, codes, keys, ranges, units.

Only what the voice's own reading gets wrong: it knows amounts, plain numbers, times, dates, titles and most units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from offhook.model.local.voices.claim import Claim

_Words: TypeAlias = "str | None"

_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SIGNS: Final = {".": "dot", "-": "dash", "_": "underscore", "+": "plus", "/": "slash", "~": "tilde", "%": "percent"}
# Endings of names that are letters, not words.
_SPELLED: Final = frozenset(
    "ai au be ca ch cz de dk edu es eu fi fr gb ie io it jp nl no nz pl pt ru se tv uk us".split()  # noqa: SIM905
)
_VOWELS: Final = frozenset("aeiouy")
# A path of more parts is of no use to a listener.
_MOST_PATH_PARTS: Final = 3

_BLANK: Final = r"[ \u00a0\u2009\u202f]"
_DASH: Final = r"[-\u2010-\u2015]"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ENDINGS: Final = r"(?:com|org|net|edu|gov|io|co|uk|de|fr|ai|app|dev|info|eu|ca|au)"
_DAYS: Final = {
    day[:3].lower(): day for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
}
_MONTHS: Final = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
_UNITS: Final = {"h": "hour", "l": "liter", "L": "liter", "m": "meter", "tsp": "teaspoon", "tbsp": "tablespoon"}
_ORDINALS: Final = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}


def spell_digits(digits: str) -> str:
    """Say figures one by one, in groups as people do: 3-4, 3-3-4, by fours, else by threes."""
    match len(digits):
        case 7:
            sizes = [3, 4]
        case 10:
            sizes = [3, 3, 4]
        case count if count <= 5:
            sizes = [count]
        case count:
            size = 4 if count % 4 == 0 else 3
            sizes = [size] * (count // size) + ([count % size] if count % size else [])
    groups = []
    for size in sizes:
        groups.append(" ".join(_DIGITS[int(digit)] for digit in digits[:size]))
        digits = digits[size:]
    return ", ".join(groups)


def _groups(written: str) -> str:
    groups = re.findall(r"[0-9]+", written)
    if len(groups) == 1:
        return spell_digits(groups[0])
    return ", ".join(" ".join(_DIGITS[int(digit)] for digit in group) for group in groups)


def _label(written: str, *, ending: bool = False) -> str:
    """Say a part of a name: as a word if it can be one, else letter by letter."""
    words = []
    for part in re.findall(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]", written):
        if part in _SIGNS:
            words.append(_SIGNS[part])
        elif part.isascii() and part.isdigit():
            words.append(part if len(part) <= 2 and part[0] != "0" else spell_digits(part))
        elif part.isascii() and part.isalpha():
            low = part.lower()
            letters = len(part) == 1 or (len(part) <= 5 and not _VOWELS & set(low)) or (ending and low in _SPELLED)
            words.append(" ".join(low.upper()) if letters else low)
    return " ".join(words)


def _host(written: str) -> str:
    *labels, ending = written.split(".")
    return " dot ".join([*(_label(label) for label in labels if label), _label(ending, ending=True)])


def _mail(match: re.Match[str]) -> _Words:
    return f"{_label(match[1])} at {_host(match[2])}"


def _address(match: re.Match[str]) -> _Words:
    host = match["host"]
    if host.lower().startswith("www."):
        host = host[4:]
    path = re.split(r"[?#]", match["path"] or "")[0]
    parts = [part for part in path.split("/") if part]
    said = [_host(host)] + [_label(part) for part in parts[:_MOST_PATH_PARTS]]
    return " slash ".join(part for part in said if part)


def _telephone(match: re.Match[str]) -> _Words:
    count = sum(char.isdigit() for char in match[0])
    if not 7 <= count <= 15:
        return None
    return ("plus " if match[0].startswith("+") else "") + _groups(match[0])


def _day_range(match: re.Match[str]) -> _Words:
    return f"{_DAYS[match[1][:3].lower()]} to {_DAYS[match[2][:3].lower()]}"


def _month_range(match: re.Match[str]) -> _Words:
    last = int(match[3])
    return f"{match[1]} {match[2]} to the {last}{_ORDINALS.get(last, 'th')}"


def _clock_range(match: re.Match[str]) -> _Words:
    first, first_half, second, second_half = match.groups()
    if ":" not in first + second and not (first_half or second_half):
        return None
    return f"{first}{_half(first_half)} to {second}{_half(second_half)}"


def _half(written: str | None) -> str:
    return f" {written[0].upper()}.M." if written else ""


def _unit(match: re.Match[str]) -> _Words:
    name = _UNITS[match[2]]
    return f"{match[1]} {name}" if match[1] == "1" else f"{match[1]} {name}s"


def _points(match: re.Match[str]) -> _Words:
    return " point ".join(match[0].split("."))


_KEY_WORDS: Final = r"(?:press|dial|hit|push|enter|touch|type|then|or|and|the|by)"
_CODE_WORDS: Final = (
    r"(?:codes?|pin|zip|account|order|extension|ext|reference|confirmation|tracking|number|id|policy|ticket|invoice"
    r"|case|booking|reservation|member|serial|routing|postcode|passcode|password|ending in|ends in|ending with)"
)

_Rule: TypeAlias = "tuple[re.Pattern[str], Callable[[re.Match[str]], str | None]]"


def _rule(pattern: str, say: Callable[[re.Match[str]], _Words], flags: int = 0) -> _Rule:
    return re.compile(pattern, flags), say


# In order of rank: what an earlier rule claims, a later one leaves alone.
_RULES: Final[tuple[_Rule, ...]] = (
    _rule(rf"(?<![\w.+-])([\w.+-]{{1,64}})@((?:{_LABEL}\.){{1,6}}[A-Za-z]{{2,24}})(?![\w@-])", _mail, re.ASCII),
    _rule(
        rf"(?:https?://|(?=www\.))(?P<host>(?:{_LABEL}\.){{0,6}}{_LABEL})(?::[0-9]{{1,5}})?"
        r"(?P<path>[/?#](?:[^\s<>\"'`|\\^{}\[\]()]{0,2000}[^\s<>\"'`|\\^{}\[\]().,;:!?])?)?",
        _address,
    ),
    _rule(
        rf"(?<![\w@.:/-])(?P<host>(?:{_LABEL}\.){{1,6}}{_ENDINGS})(?![\w@.-]*[\w@])"
        r"(?P<path>/(?:[^\s<>\"'`|\\^{}\[\]()]{0,2000}[^\s<>\"'`|\\^{}\[\]().,;:!?])?)?",
        _address,
    ),
    # Numbers to be written down: telephone, bank card, social security.
    _rule(
        rf"(?<![\w.])\+[0-9]{{1,3}}(?:(?:{_BLANK}|[.()/-]|{_DASH}){{0,3}}[0-9]{{1,12}}){{1,6}}(?![\w])",
        _telephone,
    ),
    _rule(
        rf"(?<![\w.])(?:1[ .-]{{1,2}})?\([0-9]{{3}}\){_BLANK}?[0-9]{{3}}(?:[ .]|{_DASH})[0-9]{{4}}(?!\w)", _telephone
    ),
    _rule(r"(?<![\w.-])(?:1([ .-]))?[0-9]{3}([ .-])[0-9]{3}\2[0-9]{4}(?![\w-])", _telephone),
    _rule(r"(?<![\w.-])[0-9]{3}-[0-9]{4}(?![\w-])", _telephone),
    _rule(r"(?<![\w.-])[0-9]{4}(?:([ -])[0-9]{4})(?:\1[0-9]{4}){1,3}(?![\w-])", lambda match: _groups(match[0])),
    _rule(r"(?<![\w.-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])", lambda match: _groups(match[0])),
    _rule(r"(?<![\w.-])0[0-9]{2,4}(?:[ /-][0-9]{3,8}){1,3}(?![\w-])", _telephone),
    # Versions and internet addresses.
    _rule(r"(?<![\w.])v(?=[0-9]{1,4}\.[0-9])", lambda _: "version "),
    _rule(r"(?<![A-Za-uw-z0-9_.,])[0-9]{1,4}(?:\.[0-9]{1,4}){2,3}(?![\w])", _points),
    # The keys of a telephone.
    _rule(r"(?<![\w*])\*(?=[0-9]{1,4}(?![\w*]))", lambda _: "star "),
    _rule(r"(?<=[0-9])#(?!\w)", lambda _: " pound"),
    _rule(r"(?<![^\s(\"'\u201c])#(?![\w#])", lambda _: "pound"),
    # Ranges.
    _rule(
        rf"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:day|s|sday|nesday|r|rs|rsday|urday)?\.?{_BLANK}?{_DASH}{_BLANK}?"
        r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)(?:day|s|sday|nesday|r|rs|rsday|urday)?\b",
        _day_range,
    ),
    _rule(rf"\b({_MONTHS})\.? ([0-9]{{1,2}}){_BLANK}?{_DASH}{_BLANK}?([0-9]{{1,2}})\b(?![:%])", _month_range),
    _rule(
        rf"(?<![\w:.,])([0-9]{{1,2}}(?::[0-9]{{2}})?){_BLANK}?([aApP]\.?[mM]\.?)?{_BLANK}?{_DASH}{_BLANK}?"
        rf"([0-9]{{1,2}}(?::[0-9]{{2}})?)(?:{_BLANK}?([aApP](?:m\b|M\b|\.[mM]\.)))?(?![\w:])",
        _clock_range,
    ),
    _rule(rf"(?<=[0-9](?:st|nd|rd|th)){_DASH}(?=[0-9]{{1,3}}(?:st|nd|rd|th)\b)", lambda _: " to "),
    # Short forms, units, signs.
    _rule(r"(?i)(?<![\w.])e\.g\.,?", lambda _: "for example,"),
    _rule(r"(?i)(?<![\w.])i\.e\.,?", lambda _: "that is,"),
    # Words at the end of a sentence, which the voice takes for number, figure, edition and established wherever they
    # stand, if they are spelled like this. Before a figure it takes "No." for a number too, be it of the next line.
    _rule(r"\b[Nn]o\.(?=[ ]*\n\s*[0-9#])", lambda _: "No!"),
    _rule(r"\bno\.(?!:|[ ]*[0-9#]|[ ]+(?:is|of(?! course))\b)", lambda _: "No."),
    _rule(r"\bfig\.(?![ ]*(?:[0-9#]|[A-Z]\b))", lambda _: "figg."),
    _rule(r"(?<![0-9](?:st|nd|rd|th)[ ])\bed\.(?![ ]*[0-9#])", lambda _: "Ed."),
    _rule(r"\best\.(?![ ]*(?:[0-9#]|in\b))", lambda _: "Est."),
    _rule(r"(?<![\w.,/-])([0-9]{1,3}(?:\.[0-9]+)?)[ \u00a0]?(h|L|tsp|tbsp)(?![\w'./-])", _unit),
    _rule(r"(?<![\w.,/-])([0-9]{1,3}(?:\.[0-9]+)?)[ \u00a0](l|m)(?![\w'./-])", _unit),
    _rule(r"(?<![\w.,$€£/])([0-9][0-9,.]{0,20}(?<=[0-9]))[ \u00a0]?€", lambda match: f"€{match[1]}"),
    _rule(
        r"(?<![\w'])([0-9]{1,2})['\u2019\u2032][ ]?([0-9]{1,2})(?:[\"\u201d\u2033]|'')",
        lambda match: f"{match[1]} foot {match[2]}",
    ),
    _rule(r"(?<![\w/])([0-9]{1,3}) (?=[1-9]/[2-9](?![\w/]))", lambda match: f"{match[1]} and "),
    _rule(r"(?<![\w.])[\u2212\u2012](?=[0-9])", lambda _: "-"),
    _rule(r"[~\u2248][ ]?(?=[$€£]?[0-9])", lambda _: "about "),
    _rule(r"(?<=[0-9] )\*(?= [0-9])", lambda _: "times"),
    _rule(r"(?<=[0-9] )x(?= [0-9])", lambda _: "by"),
    _rule(r"(?<![^\s0-9])<(?![^\s0-9])", lambda _: " less than "),
    _rule(r"(?<![^\s0-9])>(?![^\s0-9])", lambda _: " greater than "),
    _rule(r"\u2265", lambda _: " at least "),
    _rule(r"\u2264", lambda _: " at most "),
)

_STAR_KEY: Final = re.compile(rf"(?i)\b{_KEY_WORDS}[ ]+(\*)(?![\w*])")
# Figures that name something are read one by one; "number" and "code" before them tell.
_CODE: Final = re.compile(
    rf"(?i)\b{_CODE_WORDS}\b(?:[ ]+(?:number|code|no\.|is|was|are|of))*[ :#.]{{1,3}}(?:is[ ]+)?"
    r"([0-9]{3,})(?![0-9]*[.,:/%-]?[0-9])(?!\w)"
)
_HASHED: Final = re.compile(r"(?<![\w&#])#([0-9]{4,})(?![0-9]*[.,][0-9])(?!\w)")
_SHORT_NUMBER: Final = re.compile(r"(?i)\b(?:call|dial|ring|text)[ ]+([0-9]{3})(?![\w-])(?![.,][0-9])")
# Seven figures without a separator are nobody's amount; a leading zero never is one.
_LONG: Final = re.compile(r"(?<![\w.,$€£¥-])[0-9]{7,}(?![0-9]*[.,][0-9])(?![\w])")
_ZEROED: Final = re.compile(r"(?<![\w.,:/$€£¥-])0[0-9]+(?![0-9]*[.,:/-][0-9])(?!\w)")


def wording(text: str) -> Iterator[Claim]:
    """Yield what English says in other words than it writes, the surest readings first."""
    for pattern, say in _RULES:
        for match in pattern.finditer(text):
            words = say(match)
            if words is not None:
                yield Claim(match.start(), match.end(), words)
    for match in _STAR_KEY.finditer(text):
        yield Claim(match.start(1), match.end(1), "star")
    for match in _HASHED.finditer(text):
        yield Claim(match.start(), match.end(), f"number {spell_digits(match[1])}")
    for pattern in (_CODE, _SHORT_NUMBER):
        for match in pattern.finditer(text):
            yield Claim(match.start(1), match.end(1), spell_digits(match[1]))
    for pattern in (_LONG, _ZEROED):
        for match in pattern.finditer(text):
            yield Claim(match.start(), match.end(), spell_digits(match[0]))
