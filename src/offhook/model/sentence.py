"""Cut a stream of words into sentences, so that a voice can begin while the rest is still being thought of."""

from __future__ import annotations

# Full stops of these do not end a sentence.
_ABBREVIATIONS = frozenset(
    ["mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "no", "e.g", "i.e", "approx", "dept", "sr", "jr", "a.m", "p.m"]
)
_ENDS = ".!?;:\n。！？"  # noqa: RUF001
# A first piece of this length is spoken even without an end in sight, at the next comma or blank.
LONGEST_PIECE_CHARS = 240


class SentenceCutter:
    """Takes words as they come and returns sentences as soon as they are whole."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, text: str) -> list[str]:
        """Add words; return the sentences that are complete now, with the blanks that follow them."""
        self._text += text
        sentences = []
        while (end := _sentence_end(self._text)) is not None:
            sentences.append(self._text[:end])
            self._text = self._text[end:]
        return sentences

    def flush(self) -> str:
        """Return what is left."""
        rest, self._text = self._text, ""
        return rest


def _sentence_end(text: str) -> int | None:
    for index, char in enumerate(text):
        if char not in _ENDS:
            continue
        after = index + 1
        if char not in "\n。！？" and (after >= len(text) or not text[after].isspace()):  # noqa: RUF001
            continue
        word = text[:index].rsplit(None, 1)[-1].lower() if text[:index].strip() else ""
        if char == "." and (word in _ABBREVIATIONS or (word.isdigit() and len(word) < 3)):
            continue
        while after < len(text) and text[after].isspace():
            after += 1
        if text[:after].strip():
            return after
    if len(text) > LONGEST_PIECE_CHARS:
        cut = max(text.rfind(", ", 0, LONGEST_PIECE_CHARS), text.rfind(" ", 0, LONGEST_PIECE_CHARS // 2))
        return cut + 1 if cut > 0 else LONGEST_PIECE_CHARS
    return None
