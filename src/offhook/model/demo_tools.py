"""Which function the demo brain calls, and with what: words of the caller against a function's name and schema."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import UNSET

from offhook.wire.session import FunctionTool

# Objects within objects; what lies deeper stays empty.
MAX_DEPTH: Final = 4

_NAME_WEIGHT: Final = 3
# Words that say nothing about what a function is for.
_COMMON_WORDS: Final = """
about above all also and any are ask asks been but call called caller callers calls can check could current does find
for from function get gets give given gives has have her here him his how information into its just know like look
lookup make makes may more must need not now off one only other our out please query return returns say set should some
tell than that the their them then there these they this those tool use used user users uses want wants was were what
when where whether which while who whose why will with would you your
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())
_NUMBER_WORDS: Final = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty
"""
_NUMBERS: Final = {word: number for number, word in enumerate(_NUMBER_WORDS.split())} | {
    word: 10 * tens for tens, word in enumerate(("thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 3)
}
_NUMBER: Final = re.compile(rf"\d+(?:\.\d+)?|\b(?:{'|'.join(_NUMBERS)})\b", re.IGNORECASE)

_DAY: Final = (
    r"\b((?:next |this )?(?:monday|tuesday|wednesday|thursday|friday|saturday|sunday|weekend|week)"
    r"|today|tomorrow|tonight"
    r"|(?:january|february|march|april|may|june|july|august|september|october|november|december) \d{1,2}\w{0,2})"
)
# By a word of the property's name: what of the heard words it is.
_FITTING: Final = (
    (("day", "date", "weekday", "when"), _DAY),
    (("time", "hour"), r"\b(\d{1,2}(?::\d\d)?\s*(?:[ap]\.?m\b\.?|o'clock)|\d{1,2}:\d\d|noon|midnight|(?<=at )\d{1,2})"),
    (("email", "mail"), r"(\S+@\S+\w)"),
    (("phone", "number", "telephone", "id", "code", "zip"), r"(\+?\d[\d .-]*\d|\d)"),
    (("name", "person", "who"), r"\b(?:name is|i am|i'm|this is|it's) (\w+(?: (?-i:[A-Z])\w+)?)"),
    (
        ("city", "place", "location", "destination", "town", "country", "address", "where"),
        r"\b(?:in|to|at|from|for|near) ((?-i:[A-Z])\w+(?: (?-i:[A-Z])\w+)*)",
    ),
)


def best_match(functions: Sequence[FunctionTool], heard: str) -> FunctionTool | None:
    """Return the function that shares most words with what was heard; None when none shares any."""
    words = set(_stems(heard))
    scored = [(_score(function, words), -place) for place, function in enumerate(functions)]
    score, place = max(scored, default=(0, 0))
    return functions[-place] if score else None


def _score(function: FunctionTool, words: set[str]) -> int:
    name = set(_stems(function.name))
    description = set(_stems(function.description)) if isinstance(function.description, str) else set()
    return _NAME_WEIGHT * len(name & words) + len((description - name) & words)


def _stems(text: str) -> list[str]:
    """Return the telling words of a text without their endings: opening, opens and open are one."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text)
    words = re.findall(r"[^\W\d_]{3,}", parted.lower())
    return [_stem(word) for word in words if word not in _COMMON]


def _stem(word: str) -> str:
    for ending in ("ments", "ment", "ings", "ing", "ies", "ed", "es", "s", "e", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def arguments(function: FunctionTool, heard: str) -> dict[str, Any]:
    """Return arguments by the function's schema: those that can be found in what was heard, and all required ones."""
    schema = {} if function.parameters is UNSET else function.parameters
    return _Finder(heard, _numbers(heard)).object(schema, 0)


def _numbers(heard: str) -> list[float]:
    found = _NUMBER.findall(heard)
    return [float(_NUMBERS[word.lower()]) if word.lower() in _NUMBERS else float(word) for word in found]


@dataclass(slots=True)
class _Finder:
    """Looks for values; each number that was heard is given out once."""

    heard: str
    numbers: list[float]

    def object(self, schema: Any, depth: int) -> dict[str, Any]:
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if not isinstance(properties, dict) or depth >= MAX_DEPTH:
            return {}
        given = schema.get("required")
        required = [name for name in given if name in properties] if _is_names(given) else []
        found: dict[str, Any] = {}
        for name in [*required, *(name for name in properties if name not in required)]:
            value = self._value(name, properties[name], depth)
            if value is None and name in required:
                value = self._anything(properties[name])
            if value is not None:
                found[name] = value
        return found

    def _value(self, name: str, schema: Any, depth: int) -> Any:
        """Return what was heard for a property; None when nothing was."""
        if not isinstance(schema, dict):
            return None
        if isinstance(choices := schema.get("enum"), list):
            return next((choice for choice in choices if self._was_heard(str(choice))), None)
        match _type(schema):
            case "integer" | "number" as kind if self.numbers:
                number = self.numbers.pop(0)
                return int(number) if kind == "integer" or number.is_integer() else number
            case "boolean" if set(_stems(name)) & set(_stems(self.heard)):
                return not re.search(r"\b(no|not|without|don't)\b", self.heard, re.IGNORECASE)
            case "string":
                return self._text(name)
            case "array":
                item = self._value(name, schema.get("items"), depth + 1) if depth < MAX_DEPTH else None
                return None if item is None else [item]
            case "object":
                return self.object(schema, depth + 1) or None
            case _:
                return None

    def _text(self, name: str) -> str | None:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]", " ", name).lower()
        for names, pattern in _FITTING:
            if set(words.split()) & set(names) and (found := re.search(pattern, self.heard, re.IGNORECASE)):
                return found[1].strip(" .,")
        found = re.search(rf"\b{re.escape(words)}\b(?: is| of| to)? (.+)", self.heard, re.IGNORECASE)
        return found[1].strip(" .,?!") or None if found else None

    def _anything(self, schema: Any) -> Any:
        """Return a value for a property that has to be there although nothing of it was heard."""
        schema = schema if isinstance(schema, dict) else {}
        if "default" in schema or "const" in schema:
            return schema.get("default", schema.get("const"))
        if isinstance(choices := schema.get("enum"), list) and choices:
            return choices[0]
        match _type(schema):
            case "integer" | "number":
                least = schema.get("minimum", 0)
                return least if isinstance(least, int | float) else 0
            case "boolean":
                return False
            case "array":
                return []
            case "object":
                return {}
            case _:
                return self.heard

    def _was_heard(self, words: str) -> bool:
        wanted = _plain(words)
        return bool(wanted.strip()) and wanted in _plain(self.heard)


def _plain(text: str) -> str:
    words = re.findall(r"[^\W_]+", text.lower())
    return f" {' '.join(words)} "


def _type(schema: dict[str, Any]) -> str:
    kind = schema.get("type", "string")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "string")
    return kind if isinstance(kind, str) else "string"


def _is_names(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(name, str) for name in given)
