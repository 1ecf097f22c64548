"""Whisper's tokens: byte pairs as in GPT-2, and the marks that steer the decoder.

A vocabulary is a list of tokens, one a line, whose place is its number. The bytes of a token are written as printable
characters, one for each. Lower numbers were learnt first, so merging the pair with the lowest number first encodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

END: Final = "<|endoftext|>"
START: Final = "<|startoftranscript|>"
TRANSCRIBE: Final = "<|transcribe|>"
NO_TIMESTAMPS: Final = "<|notimestamps|>"
PREVIOUS: Final = "<|startofprev|>"

# Where GPT-2 cuts before it merges; \p{L} and \p{N} written with what the standard library has.
_PIECES: Final = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
_LANGUAGE: Final = re.compile(r"<\|([a-z]{2,3})\|>")


class VocabularyError(ValueError):
    """A vocabulary that is not one of Whisper's."""


def _characters() -> dict[str, int]:
    """Return which byte each character of a vocabulary stands for (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}


class Vocabulary:
    """The tokens of one model. Raises VocabularyError when the marks of Whisper are not among them."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = tokens
        self._ids = {token: number for number, token in enumerate(tokens)}
        if missing := [mark for mark in (END, START, NO_TIMESTAMPS, PREVIOUS) if mark not in self._ids]:
            raise VocabularyError(f"{missing[0]} is missing")
        self.end = self._ids[END]
        self._byte_of = _characters()

    @classmethod
    def read(cls, folder: Path) -> Vocabulary:
        """Read that of a CTranslate2 model: ``vocabulary.json`` or ``.txt``. Raises OSError and VocabularyError."""
        as_json = folder / "vocabulary.json"
        if not as_json.is_file():
            # Not splitlines(): some of the characters that stand for bytes would end a line there.
            return cls((folder / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n"))
        try:
            tokens = json.loads(as_json.read_text(encoding="utf-8"))
        except ValueError as failure:
            raise VocabularyError(str(failure)) from failure
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise VocabularyError("it is no list of tokens")
        return cls(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def mark(self, name: str) -> int:
        """Return the number of a mark."""
        return self._ids[name]

    @cached_property
    def languages(self) -> frozenset[str]:
        """The codes that the model has a mark for."""
        found = (_LANGUAGE.fullmatch(token) for token in self._tokens[self.end :])
        return frozenset(match[1] for match in found if match is not None)

    def bytes_of(self, number: int) -> bytes:
        """Return the bytes of a token; a mark has none."""
        if number >= self.end:
            return b""
        return bytes(self._byte_of[char] for char in self._tokens[number])

    def decode(self, numbers: Iterable[int]) -> str:
        """Return the text of tokens; what is no UTF-8 becomes U+FFFD."""
        return b"".join(map(self.bytes_of, numbers)).decode(errors="replace")

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        char_of = {byte: char for char, byte in self._byte_of.items()}
        numbers: list[int] = []
        for piece in _PIECES.findall(text):
            numbers += self._merge([char_of[byte] for byte in piece.encode()])
        return numbers

    def _merge(self, parts: list[str]) -> list[int]:
        while len(parts) > 1:
            pairs = [(self._ids.get(one + two, len(self)), place) for place, (one, two) in enumerate(pairwise(parts))]
            number, place = min(pairs)
            if number >= self.end:
                break
            parts[place : place + 2] = [self._tokens[number]]
        return [self._ids[part] for part in parts if part in self._ids]
