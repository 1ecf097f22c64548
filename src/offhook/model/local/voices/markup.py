"""What of a text is layout and is not said: Markdown, HTML tags, the marks of lists and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from offhook.model.local.voices.claim import Claim

ITEM: Final = re.compile(r"\s*(?:[-*+•]\s|\d{1,3}[.)]\s|#{1,6}\s)")
"""The beginning of a list item or a heading, blanks before it included."""

# The brackets of a link are claimed one by one, so that its label is read like any text.
_LINK: Final = re.compile(r"!?\[(?=[^\[\]\n]{0,300}\]\()|(?<=\])\([^()\s]{0,2000}(?:\s\"[^\"\n]{0,200}\")?\)")
_CODE_FENCE: Final = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]{0,30}[ \t]*$|```", re.MULTILINE)
_RULE: Final = re.compile(r"^[ \t]*(?:(?:-[ \t]?){3,}|(?:\*[ \t]?){3,}|(?:_[ \t]?){3,}|={3,})[ \t]*$", re.MULTILINE)
_TABLE_RULE: Final = re.compile(r"^[ \t]*(?:\|[ \t]*)?:?-{3,}:?[-:| \t]*$", re.MULTILINE)
_TABLE_EDGE: Final = re.compile(r"^[ \t]*\||\|[ \t]*$", re.MULTILINE)
_HEADING: Final = re.compile(r"^[ \t]*#{1,6}(?=\s)", re.MULTILINE)
_QUOTE: Final = re.compile(r"^[ \t]*>+(?=\s)", re.MULTILINE)
_BULLET: Final = re.compile(r"^[ \t]*[-*+•](?=[ \t]+\S)", re.MULTILINE)
_CHECK_BOX: Final = re.compile(r"(?<=[-*+•] )\[[ xX]\]")
_NUMBERED: Final = re.compile(r"^[ \t]*(\d{1,3})[.)](?=[ \t]+\S)", re.MULTILINE)
_TAG: Final = re.compile(r"</?[A-Za-z][A-Za-z0-9]{0,20}(?:\s[^<>]{0,300})?/?>|<!--.{0,300}?-->", re.DOTALL)
# Emphasis hugs a word on its inner side; a keypad's star ("press *9") and a product ("3 * 4") do not look like that.
_EMPHASIS: Final = re.compile(
    r"\*{2,3}|`{1,2}|~~"
    r"|(?<![\w*])\*(?=[^\W\d])|(?<=[^\W\d])\*(?![\w*])|(?<=[.,!?;:])\*(?!\w)|(?<![\w*])\*(?=\d[^*\n]{0,200}[^\W\d]\*)"
    r"|(?<!\w)_{1,3}(?=\w)|(?<=[\w.,!?])_{1,3}(?!\w)"
)
_ESCAPE: Final = re.compile(r"\\(?=[\\`*_{}\[\]()#+.!|>~-])")

_CELL: Final = re.compile(r"(?<=\S )\|(?= \S)")

_LAYOUT: Final = (_CODE_FENCE, _TABLE_RULE, _RULE, _LINK, _TAG, _TABLE_EDGE, _HEADING, _QUOTE, _CHECK_BOX, _BULLET)


def layout(text: str) -> Iterator[Claim]:
    """Yield what gives a text its structure; an item's number is said, with a pause after it."""
    for pattern in _LAYOUT:
        for match in pattern.finditer(text):
            yield Claim(match.start(), match.end(), "")
    for match in _NUMBERED.finditer(text):
        yield Claim(match.start(1), match.end(), f"{match[1]},")
    for match in _CELL.finditer(text):
        yield Claim(match.start(), match.end(), ",")


def emphasis(text: str) -> Iterator[Claim]:
    """Yield the marks around words that stand out, and the strokes that take a mark's meaning away."""
    for pattern in (_EMPHASIS, _ESCAPE):
        for match in pattern.finditer(text):
            yield Claim(match.start(), match.end(), "")
