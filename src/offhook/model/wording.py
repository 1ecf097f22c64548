"""What a language model writes that is not for the ear: its thoughts, and function calls that came as text.

Servers that know their model send both in members of their own; others pass on what the model wrote, and a caller would
hear ``<think>`` or a line of JSON.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final, TypeAlias

import msgspec

_THOUGHTS: Final = "<think>"
_THOUGHTS_END: Final = "</think>"
_CALL: Final = "<tool_call>"
# How a function call begins that is written as text. More than this of it is no call any more.
_CALLS: Final = (_CALL, "```", "{", "[{")
MAX_HELD_CHARS: Final = 32 * 1024
_FENCES: Final = re.compile(r"```(?:\w+)?|</?tool_call>")


class WrittenCall(msgspec.Struct, frozen=True):
    """A function call that was written as text; ``arguments`` is JSON."""

    name: str
    arguments: str


class _Beginning(msgspec.Struct, frozen=True):
    """Nothing was said yet; ``text`` may become one thing or the other."""

    text: str


class _Thinking(msgspec.Struct, frozen=True):
    """Inside of thoughts; ``tail`` may hold the beginning of their end."""

    tail: str


class _Holding(msgspec.Struct, frozen=True):
    """It looks like a function call; what it is shows at its end."""

    text: str


class _Saying(msgspec.Struct, frozen=True):
    """Plain words, to the end."""


_State: TypeAlias = _Beginning | _Thinking | _Holding | _Saying


class Wording:
    """Reads one answer piece by piece. ``functions`` are those that may be called."""

    def __init__(self, functions: Collection[str]) -> None:
        self._functions = functions
        self._state: _State = _Beginning("")

    @property
    def held_chars(self) -> int:
        """How much may become a function call."""
        return len(self._state.text) if isinstance(self._state, _Holding) else 0

    def feed(self, text: str) -> str:
        """Take the next piece; return what of it, and of what was held back, is to be said."""
        match self._state:
            case _Saying():
                return text
            case _Beginning(text=before):
                return self._begin(before + text)
            case _Thinking(tail=tail):
                _, end, rest = (tail + text).partition(_THOUGHTS_END)
                if end:
                    return self._begin(rest)
                self._state = _Thinking((tail + text)[-len(_THOUGHTS_END) :])
                return ""
            case _Holding(text=before):
                return self._hold(before + text)

    def _begin(self, text: str) -> str:
        begun = text.lstrip()
        if begun.startswith(_THOUGHTS):
            self._state = _Thinking("")
            return self.feed(begun.removeprefix(_THOUGHTS))
        if self._functions and begun.startswith(_CALLS):
            return self._hold(begun)
        openings = (_THOUGHTS, *(_CALLS if self._functions else ()))
        if any(opening.startswith(begun) for opening in openings):
            self._state = _Beginning(begun)
            return ""
        self._state = _Saying()
        return begun

    def _hold(self, text: str) -> str:
        if len(text) > MAX_HELD_CHARS:
            self._state = _Saying()
            return text
        self._state = _Holding(text)
        return ""

    def end(self) -> tuple[str, list[WrittenCall]]:
        """Return what is still to be said, or the calls that were meant."""
        state, self._state = self._state, _Saying()
        match state:
            case _Holding(text=text):
                calls = written_calls(text, self._functions)
                return ("", calls) if calls else (text, [])
            case _Beginning(text=text):
                return text, []
            case _Thinking() | _Saying():
                return "", []


def written_calls(text: str, functions: Collection[str]) -> list[WrittenCall]:
    """Return the calls that a text consists of; none when there is anything else in it."""
    calls = []
    for part in filter(str.strip, _FENCES.split(text)):
        try:
            value: Any = msgspec.json.decode(part)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return []
        for each in value if isinstance(value, list) else [value]:
            call = _call(each, functions)
            if call is None:
                return []
            calls.append(call)
    return calls


def _call(value: Any, functions: Collection[str]) -> WrittenCall | None:
    if not isinstance(value, dict):
        return None
    if isinstance(inner := value.get("function"), dict):
        value = inner
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters", {}))
    if not isinstance(name, str) or name not in functions:
        return None
    if isinstance(arguments, str):
        return WrittenCall(name, arguments or "{}")
    return WrittenCall(name, msgspec.json.encode(arguments).decode()) if isinstance(arguments, dict) else None
