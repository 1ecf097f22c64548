"""What the caller really heard of an item: its words against the milliseconds that went out."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_WORD: Final = re.compile(r"\S+")


class _Piece(msgspec.Struct):
    text: str
    start_ms: float
    end_ms: float


class Heard:
    """The words of one spoken item, each piece with its place in the audio.

    A backend gives audio with the words it speaks, as finely as it knows: a word, a sentence, or nothing. Within a
    piece, words are taken to be spoken evenly, by their letters.
    """

    __slots__ = ("_is_told", "_pieces", "_unplaced", "produced_ms")

    def __init__(self) -> None:
        self._pieces: list[_Piece] = []
        self._unplaced = ""
        self._is_told = False
        self.produced_ms = 0.0

    def add_text(self, text: str) -> None:
        """Take words whose audio comes later, or never with words of its own."""
        if not self._is_told:
            self._unplaced += text

    def add_audio(self, duration_ms: float, text: str) -> None:
        """Take audio and the words that it speaks; without words it belongs to the piece before it."""
        start_ms = self.produced_ms
        self.produced_ms += duration_ms
        if text:
            self._believe_the_backend()
            self._pieces.append(_Piece(text, start_ms, self.produced_ms))
        elif self._pieces and not self._unplaced:
            self._pieces[-1].end_ms = self.produced_ms
        else:
            # Words that came without a place are spread over the audio that follows them.
            self._pieces.append(_Piece(self._unplaced, start_ms, self.produced_ms))
            self._unplaced = ""

    def _believe_the_backend(self) -> None:
        """From the first piece with words on, the backend says where every word is, so nothing is guessed."""
        if not self._is_told:
            self._is_told = True
            self._unplaced = ""
            for guessed in self._pieces:
                guessed.text = ""

    def until(self, played_ms: float) -> str:
        """Return the words that were heard when ``played_ms`` of the audio went out.

        A word counts once half of it was played: who hears so much of it knows it, and no other place for the cut is
        nearer to what was heard.
        """
        heard = []
        for piece in self._pieces:
            if piece.end_ms <= played_ms:
                heard.append(piece.text)
                continue
            if piece.start_ms < played_ms:
                part = (played_ms - piece.start_ms) / (piece.end_ms - piece.start_ms)
                heard.append(_words_until(piece.text, part))
            break
        return "".join(heard).rstrip()


def _words_until(text: str, part: float) -> str:
    played = len(text) * part
    end = 0
    for word in _WORD.finditer(text):
        if (word.start() + word.end()) / 2 > played:
            break
        end = word.end()
    return text[:end]
