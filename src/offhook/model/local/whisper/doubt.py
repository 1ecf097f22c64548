"""Tells what was heard from what Whisper makes up: words out of silence, and words that do not stop.

Whisper always writes something. Of a stretch without speech it writes what subtitles say there; of a sound it cannot
place it may write the same words until the context is full. A wrong turn costs a caller more than a missed cough.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

NO_SPEECH: Final = 0.6
LOW_LOGPROB: Final = -1.0
"""Both of Whisper's own thresholds together mean silence (Radford et al. 2022, section 4.5)."""

DOUBTFUL: Final = 0.4
VERY_LOW_LOGPROB: Final = -1.4
"""Measured with tiny.en through G.711: of speech, single words too, the no-speech probability stays below 0.17, with
noise 10 dB below it under 0.38; of tones, noise, breath and clicks it is above 0.45. In between the words decide."""

NONSENSE_LOGPROB: Final = -2.0
"""Words as improbable as this are no transcript of anything; speech under noise of its own level is at -1.5."""

MADE_UP: Final = frozenset(
    {
        "you",
        "thank you",
        "thank you very much",
        "thank you for watching",
        "thanks for watching",
        "thank you so much for watching",
        "please subscribe",
        "bye",
        "bye bye",
        "so",
        "the end",
        "music",
        "silence",
        "beep",
    }
)
"""What Whisper writes of stretches without speech, in small letters without marks."""

COMPRESSION: Final = 2.4
"""Text that zlib makes this many times shorter repeats itself (same source)."""

LONGEST_UNIT: Final = 12
"""Tokens that may make up what is said over and over."""

REPEATS: Final = 6
"""So often in a row nobody says anything; digits of a number come up to five times in a row."""

OVER: Final = -1.6
"""What is said again where the end was as probable as this was said once: measured with recorded sentences, it is -1.9
to -0.7 where nobody repeated anything, and below -2.0 where somebody did."""

FASTEST: Final = 6.0
"""Tokens in a second of speech: of recorded sentences 95 of 100 have less than 5.8, half less than 3.6. What was said
once and written twice has twice as many; what was said twice has not."""

SENTENCE_ENDS: Final = (".", "?", "!", "\u3002", "\uff1f", "\uff01")
"""Behind one of these the decoder begins again."""

LEAST_AGAIN: Final = 3
"""Tokens that make a sentence, with its mark. Shorter words come twice in a row ("hello, hello")."""

LEAST_DOUBTED: Final = 2
"""One word and its mark: said twice or made up, which is to be heard again ("Stop. Stop." of a single one)."""


def is_made_up(text: str, no_speech: float, mean_logprob: float, *, running_on: bool = False) -> bool:
    """Say whether a transcript is of a stretch in which nobody spoke. ``running_on``: see `runs_on`."""
    words = "".join(char for char in text.lower() if char.isalnum() or char == " ").strip()
    if not words or mean_logprob < NONSENSE_LOGPROB or (no_speech > NO_SPEECH and mean_logprob < LOW_LOGPROB):
        return True
    return no_speech > DOUBTFUL and (running_on or words in MADE_UP or mean_logprob < VERY_LOW_LOGPROB)


def repetition(tokens: Sequence[int]) -> tuple[int, int] | None:
    """Return where the same few tokens begin to follow each other `REPEATS` times, and how many they are."""
    for start in range(len(tokens)):
        for unit in range(1, min(LONGEST_UNIT, (len(tokens) - start) // REPEATS) + 1):
            span = tokens[start : start + unit * REPEATS]
            if all(span[place] == span[place % unit] for place in range(unit, len(span))):
                return start, unit
    return None


def said_again(tokens: Sequence[int], least: int = LEAST_AGAIN) -> int | None:
    """Return where the last few tokens, ``least`` or more, follow once more; None when nothing comes twice in a row."""
    for place in range(least, len(tokens) - least + 1):
        for unit in range(least, min(place, len(tokens) - place) + 1):
            if tokens[place : place + unit] == tokens[place - unit : place]:
                return place
    return None


def is_over(begun: str, end_logprob: float, tokens_a_second: float) -> bool:
    """Say whether words that are said again were said once only. A number that has a group twice is no sentence.

    ``tokens_a_second``: how fast all of it would have been spoken.
    """
    return begun.endswith(SENTENCE_ENDS) and end_logprob >= OVER and tokens_a_second > FASTEST


def runs_on(text: str, tokens: Sequence[int], limit: int) -> bool:
    """Say whether a transcript repeats itself or never came to its end."""
    if len(tokens) >= limit or repetition(tokens) is not None:
        return True
    data = text.encode()
    # Short texts compress badly, so that their ratio says nothing.
    return len(data) > 60 and len(data) / len(zlib.compress(data)) > COMPRESSION


def end_of_sense(tokens: Sequence[int]) -> int:
    """Return how many tokens to keep: up to and with the first time of what is repeated."""
    found = repetition(tokens)
    return len(tokens) if found is None else found[0] + found[1]
